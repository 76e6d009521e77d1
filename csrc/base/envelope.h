/* Reads answers without a decoder, which costs more than the rest of a result. */
#ifndef CFPURGE_ENVELOPE_H
#define CFPURGE_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>

/* Is it { success = true, errors = {}, messages = {}, result = { id } }, each once, in any order, and nothing else?
 * Then `id` points into `json`. Any other answer needs a decoder: it may be a success all the same. */
bool cf_envelope_read(const char *json, size_t len, const char **id, size_t *id_len);

struct cf_envelope {
    bool is_object, is_envelope; /* an envelope is an object with the boolean `success` or the list `errors` */
    bool is_success;
};

/* Reads what an answer says without a decoder: `on_code` gets the code of each of its errors, and of each link of their
 * chains. Text that is no JSON is read as far as it makes sense: whoever needs all of it decodes it. */
void cf_envelope_scan(const char *json, size_t len, struct cf_envelope *envelope, void (*on_code)(void *of, long code),
                      void *of);

#endif
