/* Keeps credentials out of whatever a transfer shows, and wipes our copies of them. */
#ifndef CFPURGE_SECRETS_H
#define CFPURGE_SECRETS_H

#include "engine/transfer.h"

/* Masks the credential and the proxy's user and password in the error's text and in the ray id. */
void cf_secrets_mask(struct cf_transfer *transfer);
/* Of one that has ended: wipes all that holds a credential, but for those that the binding masks in the decoded answer.
 * Its easy handle must be gone. */
void cf_secrets_redact(struct cf_transfer *transfer);

#endif
