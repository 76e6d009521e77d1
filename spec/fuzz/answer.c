/* An answer, from the bytes that libcurl hands over to what Lua gets: the result, or nil and an error, judged by
 * answer.lua. The input: how the attempt ended, who asked, then the answer as it is on the wire; a header line that
 * begins with '!' is libcurl's own words. */
#include "state.h"

#include "../../csrc/base/retry.h"
#include "../../csrc/engine/engine.h"
#include "../../csrc/engine/attempt.h"

static lua_State *L;
static char blanks[CF_RESPONSE_MAX_BODY - 64];   /* behind the body, for '~': under its cap or over it */

static const CURLcode codes[] = {CURLE_OK,                CURLE_PARTIAL_FILE,      CURLE_OPERATION_TIMEDOUT,
                                 CURLE_COULDNT_CONNECT,   CURLE_SSL_CONNECT_ERROR, CURLE_FILESIZE_EXCEEDED,
                                 CURLE_OUT_OF_MEMORY,     CURLE_RECV_ERROR};

static struct cf_transfer *new_transfer(int who)
{
    static const char everything[] = "{\"purge_everything\":true}", tags[] = "{\"tags\":[\"a\",\"b\",\"c\"]}";
    struct cf_buffer body = {NULL, 0, 0, 1 << 20};
    struct cf_submission asked;
    struct cf_transfer *transfer = cf_transfer_new(NULL);

    memset(&asked, 0, sizeof asked);
    asked.url = who & 4 ? "http://h/v4/zones/zone/environments/env/purge_cache" : "http://h/v4/zones/other/purge_cache";
    asked.path_at = strlen("http://h/v4");
    asked.secrets[0] = who & 2 ? "K\"e\\y/78901" : "cf-Secret_1";
    asked.secrets[1] = who & 2 ? "me@example.com" : NULL;
    asked.items = who & 1 ? 0 : who & 8 ? 1 : 3;
    asked.bucket = CF_BUCKET_REQUESTS;
    asked.user_agent = "fuzz";
    asked.headers = "Authorization: Bearer cf-Secret_1";
    asked.headers_size = strlen(asked.headers) + 1;
    asked.retry.max_retries = 2;
    asked.retry.retry_for = -1;
    asked.retry.max_wait = INT64_C(60000000);
    if (!(who & 1)) {
        CHECK(cf_buffer_add(&body, who & 8 ? everything : tags, who & 8 ? sizeof everything - 1 : sizeof tags - 1) ==
              CF_BUFFER_OK);
        asked.body = &body;
    }
    CHECK(transfer && cf_transfer_fill(transfer, &asked, 0));
    transfer->attempts = 1;
    cf_buffer_free(&body);
    return transfer;
}

/* The headers, one line a call as libcurl does it, and the body in chunks. False: a callback refused. */
static bool hand_over(struct cf_transfer *transfer, struct input *input, int how, size_t chunk)
{
    struct cf_response *response = &transfer->response;
    const char *line;
    size_t len, times;
    bool headed = false;

    if (how == '~' && !*blanks)
        memset(blanks, ' ', sizeof blanks);
    while (!response->is_headed && next_line(input, 1, &line, &len)) {
        if (*line == '!' && !transfer->error[0])
            memcpy(transfer->error, line + 1, len - 1 < sizeof transfer->error ? len - 1 : sizeof transfer->error - 1);
        else
            for (times = how == '^' && len > 64 ? 1 + CF_RESPONSE_MAX_HEADERS / len : 1; times > 0; times--)
                if (!cf_response_header(response, line, len))
                    return false;
        headed = headed || *line == '\n' || *line == '\r' || *line == ' ' || *line == '\t';
    }
    CHECK(headed || !response->is_headed);
    CHECK(response->is_headed || input->at == input->end);
    for (; input->at < input->end; input->at += len) {
        len = (size_t)(input->end - input->at) < chunk ? (size_t)(input->end - input->at) : chunk;
        if (!cf_response_body(response, input->at, len))
            return false;
    }
    return how != '~' || cf_response_body(response, blanks, sizeof blanks);
}

static void check_retry(const struct cf_transfer *transfer)
{
    struct cf_outcome outcome;
    int64_t wait = -1;

    cf_attempt_outcome(transfer, 0, &outcome);
    if (cf_retry_decide(&transfer->retry, &outcome, 0.5, &wait)) {
        CHECK(wait >= 0 && wait <= transfer->retry.max_wait);
        CHECK(transfer->failure != CF_OK || transfer->verdict.kind);
        CHECK(transfer->failure != CF_OK || transfer->response.status >= 300 || transfer->verdict.about);
    }
}

static void check_verdict(const struct cf_transfer *transfer)
{
    const struct cf_verdict *verdict = &transfer->verdict;
    int status = transfer->response.status;

    CHECK(verdict->kind || (status >= 200 && status < 300 && !verdict->about && !verdict->is_transient));
    CHECK(verdict->is_transient || verdict->about != CF_ABOUT_RATE);
    CHECK(!verdict->is_overall || verdict->about == CF_ABOUT_RATE);
    CHECK(!verdict->about == !cf_verdict_about(verdict->about));
}

/* What the oracle gets to know: failure, status, body where it is whole, secrets, items, is it a GET. */
static int judge(lua_State *state)
{
    const struct cf_transfer *transfer = lua_touserdata(state, 1);
    struct cf_ending ending;
    int count, i;

    cf_engine_ending(transfer, &ending);
    lua_getglobal(state, "answer");
    lua_pushinteger(state, ending.failure);
    lua_pushinteger(state, ending.response->status);
    lua_pushlstring(state, ending.response->body.data ? ending.response->body.data : "",
                    ending.failure == CF_OK ? ending.response->body.len : 0);
    for (i = 0; i < 2; i++)
        lua_pushstring(state, ending.secrets[i]);
    lua_pushinteger(state, (lua_Integer)ending.asked);
    lua_pushboolean(state, ending.body_len == 0);
    count = cf_result_push(state, &ending, "zone");
    CHECK(lua_gettop(state) == 9 + count);
    lua_call(state, 7 + count, 0);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t chunks[] = {16384, 1, 7, 100};
    struct input input = {(const char *)data, (const char *)data + size};
    struct cf_transfer *transfer;
    int how, who;
    bool whole;

    if (!L) {
        cf_memory_hook(counted);
        L = open_lua("answer");
    }
    how = next_byte(&input);
    who = next_byte(&input);
    if (how == '~' && who != '~')
        how = 0; /* a megabyte is slow */
    transfer = new_transfer(who);
    whole = hand_over(transfer, &input, how, chunks[who >> 4 & 3]);
    CHECK(transfer->response.status >= 0 && transfer->response.status <= 999);
    CHECK(strlen(transfer->response.ray_id) < sizeof transfer->response.ray_id);
    CHECK(strlen(transfer->response.retry_after) < sizeof transfer->response.retry_after);
    CHECK(strlen(transfer->response.ratelimit) < sizeof transfer->response.ratelimit);
    CHECK(transfer->response.body.len <= CF_RESPONSE_MAX_BODY);
    cf_attempt_finish(transfer, whole ? codes[how & 7] : CURLE_WRITE_ERROR);
    CHECK(whole || transfer->failure == CF_TOO_BIG);
    CHECK(transfer->failure != CF_OK || transfer->response.is_headed);
    CHECK(transfer->retry_after >= -1);
    check_retry(transfer);
    check_verdict(transfer);
    lua_pushcfunction(L, judge);
    lua_pushlightuserdata(L, transfer);
    call_or_die(L, 1);
    cf_transfer_free(transfer);
    CHECK(blocks == 0);
    return 0;
}
