/* What the two files of a database share. All of it is called within the gate. */
#ifndef CFPURGE_DATABASE_PRIVATE_H
#define CFPURGE_DATABASE_PRIVATE_H

#include "queue/database.h"

/* Sets why a work failed: what SQLite says of the code. */
void cf_database_fail(struct cf_database *database, struct cf_work *work, int code);
/* Anything but SQLITE_OK: it is closed, and the work says why. */
int cf_database_open(struct cf_database *database, struct cf_work *work);
void cf_database_close(struct cf_database *database);
/* Is its path still the file that is open? */
bool cf_database_is_there(const struct cf_database *database);
/* False: there is no log. */
bool cf_database_stat_log(const struct cf_database *database, struct stat *log);

#endif
