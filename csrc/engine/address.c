/* Checks where a request may go, base_url and proxy, by the parser that will use them: libcurl's; and has it write
 * names in ASCII. */
#define _GNU_SOURCE 1
#include "engine/address.h"

#include <arpa/inet.h>
#include <locale.h>
#include <string.h>
#ifdef __APPLE__
#include <xlocale.h>
#endif

#include "base/ascii.h"
#include "engine/libcurl.h"

static const char *const address_no_memory = "could not be checked: out of memory";

/* An address while it is checked. Where no_memory is set, no finding counts. */
struct address {
    CURLU *url;
    bool no_memory;
};

/* False: there is none in the text. */
static bool address_open_address(struct address *address, const char *text, unsigned flags)
{
    CURLUcode code = CURLUE_OUT_OF_MEMORY;

    address->url = curl_url();
    if (address->url)
        code = curl_url_set(address->url, CURLUPART_URL, text, flags);
    address->no_memory = code == CURLUE_OUT_OF_MEMORY;
    return code == CURLUE_OK;
}

/* To be freed; NULL where there is none. */
static char *address_part_of(struct address *address, CURLUPart part)
{
    char *text = NULL;
    CURLUcode code = curl_url_get(address->url, part, &text, 0);

    address->no_memory |= code == CURLUE_OUT_OF_MEMORY;
    return code == CURLUE_OK ? text : NULL;
}

static bool address_has(struct address *address, CURLUPart part)
{
    char *text = address_part_of(address, part);
    bool found = text && *text;
    curl_free(text);
    return found;
}

static bool address_is_scheme(struct address *address, const char *scheme)
{
    char *text = address_part_of(address, CURLUPART_SCHEME);
    bool same = text && cf_ascii_is(text, strlen(text), scheme);
    curl_free(text);
    return same;
}

static bool address_is_loopback(struct address *address)
{
    struct in_addr number;
    char *host = address_part_of(address, CURLUPART_HOST);
    /* 127.0.0.1.2 is a name: the resolver says whose. */
    bool loopback = host && (cf_ascii_is(host, strlen(host), "localhost") || strcmp(host, "[::1]") == 0 ||
                             (strncmp(host, "127.", 4) == 0 && inet_pton(AF_INET, host, &number) == 1));
    curl_free(host);
    return loopback;
}

static bool address_has_control(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text <= 0x20 || *text == 0x7f)
            return true;
    return false;
}

const char *cf_address_base_problem(const char *base_url)
{
    struct address address;
    const char *problem = NULL;

    if (!cf_libcurl_has(CURL_VERSION_SSL) && cf_ascii_same(base_url, "https:", 6))
        return "needs TLS, and this libcurl was built without it";
    if (!address_open_address(&address, base_url, 0) || address_has_control(base_url) ||
        !(address_is_scheme(&address, "https") || address_is_scheme(&address, "http")) ||
        !address_has(&address, CURLUPART_HOST))
        problem = "must be an absolute http(s) URL";
    else if (address_has(&address, CURLUPART_USER) || address_has(&address, CURLUPART_PASSWORD))
        problem = "must not hold a user or password";
    else if (strpbrk(base_url, "?#"))
        problem = "must not have a query or fragment";
    curl_url_cleanup(address.url);
    return address.no_memory ? address_no_memory : problem;
}

const char *cf_address_proxy_problem(const char *proxy)
{
    static const char *const schemes[] = {"http", "https", "socks4", "socks4a", "socks5", "socks5h"};
    struct address address;
    const char *problem = "must be a URL with the scheme http, https, socks4, socks4a, socks5 or socks5h";
    size_t i;

    if (address_open_address(&address, proxy, CURLU_NON_SUPPORT_SCHEME | CURLU_GUESS_SCHEME) &&
        !address_has_control(proxy))
        for (i = 0; i < sizeof schemes / sizeof *schemes && problem; i++)
            /* Some parsers read "http:/x" as a scheme, others as a host. */
            if (strstr(proxy, "://") ? address_is_scheme(&address, schemes[i]) : !strstr(proxy, ":/"))
                problem = NULL;
    curl_url_cleanup(address.url);
    return address.no_memory ? address_no_memory : problem;
}

/* It has a handle of its own: in one that holds a URL, "proxy.example:3128" would be a path below that. */
static bool address_is_own_proxy(const char *proxy, bool *lost)
{
    struct address address;
    bool own = address_open_address(&address, proxy, CURLU_NON_SUPPORT_SCHEME | CURLU_GUESS_SCHEME) &&
               address_is_loopback(&address);
    *lost = address.no_memory;
    curl_url_cleanup(address.url);
    return own;
}

const char *cf_address_clear_text_problem(const char *base_url, const char *proxy, bool *direct)
{
    struct address address;
    bool clear = true, lost = false;

    *direct = false;
    if (address_open_address(&address, base_url, 0)) {
        if (address_is_scheme(&address, "https"))
            clear = false;
        else if (address_is_loopback(&address) && (!proxy || !*proxy))
            clear = false, *direct = true;
        else if (address_is_loopback(&address))
            clear = !address_is_own_proxy(proxy, &lost);
    }
    curl_url_cleanup(address.url);
    if (address.no_memory || lost)
        return address_no_memory;
    return clear ? "would send the credential in clear text: use https, or set allow_http" : NULL;
}

/* The host's name as libcurl writes it in a request; to be freed, NULL where it cannot. */
static char *address_punycode(const char *host)
{
    char *ascii = NULL;
#ifdef CURLU_PUNYCODE
    CURLU *url = curl_url();

    if (url && curl_url_set(url, CURLUPART_HOST, host, 0) == CURLUE_OK)
        (void)curl_url_get(url, CURLUPART_HOST, &ascii, CURLU_PUNYCODE);
    curl_url_cleanup(url);
#else
    (void)host;
#endif
    return ascii;
}

bool cf_address_to_ascii(const char *host, char *ascii, size_t size)
{
    /* libidn2 reads the name in the locale's encoding, and a Lua is in the locale "C". Only this thread changes. */
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    locale_t before = utf8 ? uselocale(utf8) : (locale_t)0;
    char *written = address_punycode(host), *byte;
    bool is_ascii = written && *written && strlen(written) < size;

    for (byte = written; is_ascii && *byte; byte++)
        is_ascii = (unsigned char)*byte < 0x80;
    if (is_ascii)
        memcpy(ascii, written, strlen(written) + 1);
    curl_free(written);
    if (utf8) {
        uselocale(before);
        freelocale(utf8);
    }
    return is_ascii;
}
