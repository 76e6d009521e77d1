/* Keeps credentials out of whatever a transfer shows, and wipes our copies of them. */
#define _GNU_SOURCE 1
#include "engine/secrets.h"

#include <string.h>

#include "base/memory.h"

/* A shorter text is a part of many words, and no credential of Cloudflare's or of a proxy that deserves the name. */
#define SHORTEST 8

static void secrets_mask_one(char *text, const char *secret, size_t len)
{
    char *at, *found;

    for (at = text; len >= SHORTEST && (found = memmem(at, strlen(at), secret, len)); at = found + len)
        memset(found, '*', len);
}

/* "user:password" of a proxy's URL, as it stands there. */
static void secrets_mask_proxy(char *text, const char *proxy)
{
    const char *start = proxy ? strstr(proxy, "://") : NULL, *end;

    start = start ? start + 3 : proxy;
    end = start ? strrchr(start, '@') : NULL;
    if (!end)
        return;
    secrets_mask_one(text, start, (size_t)(end - start));
    start = memchr(start, ':', (size_t)(end - start));
    if (start)
        secrets_mask_one(text, start + 1, (size_t)(end - start - 1));
}

/* libcurl quotes a proxy that it cannot use, and cuts what is too long. We have not seen the environment's. */
static void secrets_mask_quoted(char *text)
{
    static const char begins[] = "Unsupported proxy";
    size_t len = strlen(text);
    char *start = strncmp(text, begins, sizeof begins - 1) == 0 ? strchr(text, '\'') : NULL;
    char *end = len < CURL_ERROR_SIZE - 4 ? strrchr(text, '\'') : text + len;

    if (start && end > start)
        memset(start + 1, '*', (size_t)(end - start - 1));
}

/* libcurl repeats what a server or a proxy says, whose bytes are to break no line of a log. */
static void secrets_clean(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = ' ';
}

void cf_secrets_mask(struct cf_transfer *transfer)
{
    int i;

    secrets_clean(transfer->error);
    for (i = 0; i < 2; i++)
        if (transfer->secrets[i]) {
            secrets_mask_one(transfer->response.ray_id, transfer->secrets[i], strlen(transfer->secrets[i]));
            secrets_mask_one(transfer->error, transfer->secrets[i], strlen(transfer->secrets[i]));
        }
    secrets_mask_proxy(transfer->error, transfer->proxy);
    secrets_mask_quoted(transfer->error);
}

/* Only an answer is ever decoded, and that shows the secret where it stands in it in plain bytes or in escaped ones. */
static bool secrets_may_show(const struct cf_transfer *transfer, const char *secret)
{
    const struct cf_buffer *body = &transfer->response.body;
    return transfer->failure == CF_OK && body->len > 0 &&
           (memchr(body->data, '\\', body->len) || memmem(body->data, body->len, secret, strlen(secret)));
}

void cf_secrets_redact(struct cf_transfer *transfer)
{
    struct cf_response *response = &transfer->response;
    const char *kept = transfer->url + strlen(transfer->url) + 1;
    size_t i, used;

    for (i = 0; i < 2; i++) {
        const char *secret = transfer->secrets[i];
        if (secret && secrets_may_show(transfer, secret)) {
            kept = secret + strlen(secret) + 1;
        } else if (secret) {
            cf_wipe(transfer->block + (secret - transfer->block), strlen(secret));
            transfer->secrets[i] = NULL;
        }
    }
    /* The proxy and the headers stand behind them in the block. */
    used = (size_t)(kept - transfer->block);
    cf_wipe(transfer->block + used, transfer->block_size - used);
    transfer->headers = NULL;
    transfer->proxy = transfer->user_agent = NULL;
    if (transfer->failure != CF_OK)
        response->body.len = 0;
    if (response->body.data)
        cf_wipe(response->body.data + response->body.len, response->body.cap - response->body.len);
    cf_wipe(response->retry_after, sizeof response->retry_after);
    cf_wipe(response->ratelimit, sizeof response->ratelimit);
}
