/* Reads the usual answer without a decoder, which costs more than the rest of a result. */
#ifndef CFPURGE_ENVELOPE_H
#define CFPURGE_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>

/* Is it { success = true, errors = {}, messages = {}, result = { id } }, each once, in any order, and nothing else?
 * Then `id` points into `json`. Any other answer needs a decoder: it may be a success all the same. */
bool cf_envelope_read(const char *json, size_t len, const char **id, size_t *id_len);

/* Has any of its errors this code, in decimal? */
bool cf_envelope_has_code(const char *json, size_t len, const char *code);

#endif
