/* One attempt of a transfer, from the options that libcurl is given to what its ending says. */
#ifndef CFPURGE_ATTEMPT_H
#define CFPURGE_ATTEMPT_H

#include "engine/transfer.h"

/* Makes the easy handle ready for the next attempt, in that lane; `is_fresh`: on a connection of its own. Any code but
 * CURLE_OK: no attempt can be made. */
CURLcode cf_attempt_prepare(struct cf_transfer *transfer, const struct cf_lane *lane, bool is_fresh, int64_t now);
/* The instant at which this attempt has timed out; CF_NEVER for none. */
int64_t cf_attempt_overdue_at(const struct cf_transfer *transfer);
/* Its time is over: says where it stood, before it is taken out of the CURLM. */
void cf_attempt_overdue(struct cf_transfer *transfer, int64_t now);
/* Notes how the attempt ended. */
void cf_attempt_finish(struct cf_transfer *transfer, CURLcode code);
/* What the policy of retries is asked about, at `now`. */
void cf_attempt_outcome(const struct cf_transfer *transfer, int64_t now, struct cf_outcome *outcome);

#endif
