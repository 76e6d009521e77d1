/* What spec/hosts/openssl.c calls of an OpenSSL, as if of 1.1.1: whoever else calls it dies. */
#include <stdlib.h>

const char *OpenSSL_version(int type);
const void *TLS_client_method(void);
void *SSL_CTX_new(const void *method);
void SSL_CTX_free(void *context);
void ERR_clear_error(void);

const char *OpenSSL_version(int type)
{
    return type == 0 ? "OpenSSL 1.1.1w  11 Sep 2023" : "not available";
}

const void *TLS_client_method(void)
{
    return "";
}

void *SSL_CTX_new(const void *method)
{
    static int calls;

    if (*(const char *)method || calls++)
        abort();
    return &calls;
}

void SSL_CTX_free(void *context)
{
    (void)context;
}

void ERR_clear_error(void)
{
    static int calls;

    if (calls++)
        abort();
}
