/* A program with Lua that uses an OpenSSL of its own before it runs argv[1]. The spec links it in several ways, and
 * says how its script ended. */
#include <lauxlib.h>
#include <lualib.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    lua_State *L = luaL_newstate();

    if (argc != 2 || !context || !L)
        return 1;
    ERR_clear_error();
    puts(OpenSSL_version(OPENSSL_VERSION));
    luaL_openlibs(L);
    if (luaL_dofile(L, argv[1]))
        puts(lua_tostring(L, -1));
    lua_close(L);
    SSL_CTX_free(context);
    return 0;
}
