/* Where a request may go: base_url and proxy, checked by the parser that will use them. */
#include "address.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "libcurl.h"

static const char *const no_memory = "could not be checked: out of memory";

static bool has(CURLU *url, CURLUPart part)
{
    char *text = NULL;
    bool found = curl_url_get(url, part, &text, 0) == CURLUE_OK && text && *text;
    curl_free(text);
    return found;
}

static bool is_scheme(CURLU *url, const char *scheme)
{
    char *text = NULL;
    bool same = curl_url_get(url, CURLUPART_SCHEME, &text, 0) == CURLUE_OK && strcasecmp(text, scheme) == 0;
    curl_free(text);
    return same;
}

static bool is_loopback(CURLU *url)
{
    struct in_addr address;
    char *host = NULL;
    bool loopback = false;

    /* 127.0.0.1.2 is no address but a name, which is whose the resolver says. */
    if (curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK)
        loopback = strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
                   (strncmp(host, "127.", 4) == 0 && inet_pton(AF_INET, host, &address) == 1);
    curl_free(host);
    return loopback;
}

static bool has_control(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text <= 0x20 || *text == 0x7f)
            return true;
    return false;
}

const char *cf_address_base_problem(const char *base_url)
{
    CURLU *url = curl_url();
    const char *problem = NULL;

    if (!url)
        return no_memory;
    if (has_control(base_url) || curl_url_set(url, CURLUPART_URL, base_url, 0) != CURLUE_OK ||
        !(is_scheme(url, "https") || is_scheme(url, "http")) || !has(url, CURLUPART_HOST))
        problem = "must be an absolute http(s) URL";
    else if (has(url, CURLUPART_USER) || has(url, CURLUPART_PASSWORD))
        problem = "must not hold a user or password";
    else if (strpbrk(base_url, "?#"))
        problem = "must not have a query or fragment";
    curl_url_cleanup(url);
    return problem;
}

const char *cf_address_proxy_problem(const char *proxy)
{
    static const char *const schemes[] = {"http", "https", "socks4", "socks4a", "socks5", "socks5h"};
    CURLU *url = curl_url();
    const char *problem = "must be a URL with the scheme http, https, socks4, socks4a, socks5 or socks5h";
    size_t i;

    if (!url)
        return no_memory;
    if (!has_control(proxy) &&
        curl_url_set(url, CURLUPART_URL, proxy, CURLU_NON_SUPPORT_SCHEME | CURLU_GUESS_SCHEME) == CURLUE_OK)
        for (i = 0; i < sizeof schemes / sizeof *schemes && problem; i++)
            if (!strstr(proxy, "://") || is_scheme(url, schemes[i]))
                problem = NULL;
    curl_url_cleanup(url);
    return problem;
}

/* A handle of its own: in one that holds a URL, "proxy.example:3128" would be a path below that. */
static bool is_own_proxy(const char *proxy)
{
    CURLU *url = curl_url();
    bool own = url && curl_url_set(url, CURLUPART_URL, proxy, CURLU_NON_SUPPORT_SCHEME | CURLU_GUESS_SCHEME) == CURLUE_OK &&
               is_loopback(url);
    curl_url_cleanup(url);
    return own;
}

bool cf_address_is_clear_text(const char *base_url, const char *proxy, bool *direct)
{
    CURLU *url = curl_url();
    bool clear = true;

    *direct = false;
    if (url && curl_url_set(url, CURLUPART_URL, base_url, 0) == CURLUE_OK) {
        if (is_scheme(url, "https"))
            clear = false;
        else if (is_loopback(url) && (!proxy || !*proxy))
            clear = false, *direct = true;
        else if (is_loopback(url))
            clear = !is_own_proxy(proxy);
    }
    curl_url_cleanup(url);
    return clear;
}
