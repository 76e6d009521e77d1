/* One request on one easy handle: owns its copies, stands in one list, and goes through attempts (attempt.c). */
#define _GNU_SOURCE 1
#include "engine/transfer.h"

#include <string.h>

#include "base/generation.h"
#include "base/memory.h"
#include "engine/engine_private.h"

struct cf_transfer *cf_transfer_new(struct cf_engine *engine)
{
    struct cf_transfer *transfer = cf_zalloc(sizeof *transfer);
    if (transfer)
        transfer->engine = engine;
    return transfer;
}

static void transfer_leave(struct cf_transfer *transfer)
{
    struct cf_transfer_list *old = transfer->list;

    if (old) {
        *(transfer->previous ? &transfer->previous->next : &old->first) = transfer->next;
        *(transfer->next ? &transfer->next->previous : &old->last) = transfer->previous;
        old->count--;
    }
    transfer->list = NULL;
    transfer->next = transfer->previous = NULL;
}

void cf_transfer_move(struct cf_transfer *transfer, struct cf_transfer_list *list)
{
    transfer_leave(transfer);
    transfer->list = list;
    if (list) {
        transfer->previous = list->last;
        *(list->last ? &list->last->next : &list->first) = transfer;
        list->last = transfer;
        list->count++;
    }
}

void cf_transfer_move_first(struct cf_transfer *transfer, struct cf_transfer_list *list)
{
    transfer_leave(transfer);
    transfer->list = list;
    transfer->next = list->first;
    *(list->first ? &list->first->previous : &list->last) = transfer;
    list->first = transfer;
    list->count++;
}

double cf_transfer_cost(const struct cf_transfer *transfer)
{
    return transfer->bucket == CF_BUCKET_URLS ? (double)transfer->items : transfer->items > 0;
}

bool cf_transfer_is_tls(const struct cf_transfer *transfer)
{
    return strncmp(transfer->url, "https:", 6) == 0;
}

static const char *transfer_put(char **at, const char *text)
{
    char *start = *at;
    size_t size;

    if (!text)
        return NULL;
    size = strlen(text) + 1;
    memcpy(start, text, size);
    *at += size;
    return start;
}

static size_t transfer_size_of(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

/* One block holds every copy, so that one wipe is sure to reach all of them. */
bool cf_transfer_fill(struct cf_transfer *transfer, struct cf_submission *submission, int64_t now)
{
    size_t lines = 0, texts, i;
    struct curl_slist *node;
    char *at;

    for (i = 0; i < submission->headers_size; i++)
        lines += submission->headers[i] == '\0';
    texts = transfer_size_of(submission->url) + transfer_size_of(submission->secrets[0]) +
            transfer_size_of(submission->secrets[1]) + transfer_size_of(submission->proxy) +
            transfer_size_of(submission->user_agent) + submission->headers_size;
    transfer->block_size = lines * sizeof *node + texts;
    transfer->block = cf_realloc(NULL, transfer->block_size);
    if (!transfer->block)
        return false;

    at = transfer->block + lines * sizeof *node;
    transfer->url = transfer_put(&at, submission->url);
    transfer->path = transfer->url + submission->path_at;
    transfer->secrets[0] = transfer_put(&at, submission->secrets[0]);
    transfer->secrets[1] = transfer_put(&at, submission->secrets[1]);
    transfer->proxy = transfer_put(&at, submission->proxy);
    transfer->user_agent = transfer_put(&at, submission->user_agent);
    if (submission->headers_size > 0)
        memcpy(at, submission->headers, submission->headers_size);
    node = (struct curl_slist *)(void *)transfer->block;
    transfer->headers = lines ? node : NULL;
    for (i = 0; i < lines; i++) {
        node[i].data = at;
        node[i].next = i + 1 < lines ? &node[i + 1] : NULL;
        at += strlen(at) + 1;
    }

    transfer->is_get = submission->body == NULL;
    if (submission->body) {
        struct cf_buffer ours = transfer->body;
        transfer->body = *submission->body;
        ours.max = submission->body->max;
        *submission->body = ours;
    }
    transfer->direct = submission->direct;
    transfer->is_part = submission->is_part;
    transfer->ca = submission->ca_file ? cf_ca_find(transfer->engine->cas, submission->ca_file) : NULL;
    transfer->asked = submission->asked;
    transfer->items = submission->items;
    transfer->bucket = submission->bucket;
    transfer->retry = submission->retry;
    transfer->timeout = submission->timeout;
    transfer->connect_timeout = submission->connect_timeout;
    transfer->deadline = submission->deadline ? now + submission->deadline : 0;
    transfer->started = now;
    transfer->attempts = transfer->tries = transfer->limits = transfer->limited = 0;
    transfer->limited_at = 0;
    transfer->was_kept = false;
    transfer->failure = CF_OK;
    transfer->retry_after = -1;
    transfer->error[0] = '\0';
    cf_response_reset(&transfer->response);
    return true;
}

void cf_transfer_clear(struct cf_transfer *transfer)
{
    if (transfer->easy && transfer->generation == cf_generation()) {
        /* It must not be left with pointers into what is freed. */
        curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, NULL);
        curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDS, NULL);
    }
    if (transfer->block) {
        cf_wipe(transfer->block, transfer->block_size);
        cf_free(transfer->block);
        transfer->block = NULL;
    }
    transfer->headers = NULL;
    transfer->url = transfer->path = transfer->proxy = transfer->user_agent = NULL;
    transfer->secrets[0] = transfer->secrets[1] = NULL;
    cf_buffer_empty(&transfer->body);
    cf_buffer_empty(&transfer->response.body);
}

void cf_transfer_free(struct cf_transfer *transfer)
{
    cf_transfer_clear(transfer);
    if (transfer->easy && transfer->generation == cf_generation())
        curl_easy_cleanup(transfer->easy);
    cf_buffer_free(&transfer->body);
    cf_response_free(&transfer->response);
    cf_free(transfer);
}
