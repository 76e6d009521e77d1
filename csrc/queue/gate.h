/* The way into libsqlite3, closed while the process forks; and the locks of a forked child. */
#ifndef CFPURGE_GATE_H
#define CFPURGE_GATE_H

/* A forked child opens the database anew, in a libsqlite3 whose globals are the parent's: none of its mutexes may be
 * held at that moment, by a thread that the child does not have. So whoever is in libsqlite3 reads this lock, and a
 * fork writes it: it waits for the transaction that is under way, not for a wait for another process' lock. */
void cf_gate_enter(void);
void cf_gate_leave(void);

/* For a database that was just opened: where this process is a forked one, takes the locks that libsqlite3 believes it
 * has. */
void cf_gate_lock_as_child(const char *file);

#endif
