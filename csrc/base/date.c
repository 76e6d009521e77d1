/* The dates of HTTP (RFC 9110, 5.6.7). Neither strptime nor curl_getdate serves: one obeys the locale, the other
 * guesses, and both end in 2038 where time_t has 32 bits. */
#include "base/date.h"

#include <string.h>

enum { YEAR, MONTH, DAY, HOUR, MINUTE, SECOND, PARTS };

/* Moves `*text` behind the name that it begins with; its place in the list, -1 where it begins with none. `size`: only
 * so many letters of each name, 0 for all. */
static int date_read_name(const char **text, const char *const *names, int count, size_t size)
{
    int i;

    for (i = 0; i < count; i++) {
        size_t len = size ? size : strlen(names[i]);
        if (strncmp(*text, names[i], len) == 0) {
            *text += len;
            return i;
        }
    }
    return -1;
}

static bool date_read_number(const char **text, int digits, int *number)
{
    for (*number = 0; digits > 0; digits--, ++*text) {
        if (**text < '0' || **text > '9')
            return false;
        *number = *number * 10 + (**text - '0');
    }
    return true;
}

/* In a form, "w" and "W" are a day's name of three letters and a whole one, "m" a month's; "Y" is a year of four
 * digits, "y" one of two, "e" a day of the month that may have a space for its first digit; "d", "h", "i" and "s" have
 * two digits. All else stands for itself. */
static bool date_read_form(const char *text, const char *form, int parts[PARTS])
{
    static const char *const days[] = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    bool fits = true, is_short;

    for (; fits && *form; form++)
        switch (*form) {
        case 'w':
        case 'W':
            fits = date_read_name(&text, days, 7, *form == 'w' ? 3 : 0) >= 0;
            break;
        case 'm':
            fits = (parts[MONTH] = date_read_name(&text, months, 12, 0)) >= 0;
            break;
        case 'Y':
            fits = date_read_number(&text, 4, &parts[YEAR]);
            break;
        case 'y':
            fits = date_read_number(&text, 2, &parts[YEAR]);
            break;
        case 'e':
            is_short = *text == ' ';
            text += is_short;
            fits = date_read_number(&text, is_short ? 1 : 2, &parts[DAY]);
            break;
        case 'd':
            fits = date_read_number(&text, 2, &parts[DAY]);
            break;
        case 'h':
            fits = date_read_number(&text, 2, &parts[HOUR]);
            break;
        case 'i':
            fits = date_read_number(&text, 2, &parts[MINUTE]);
            break;
        case 's':
            fits = date_read_number(&text, 2, &parts[SECOND]);
            break;
        default:
            fits = *text++ == *form;
        }
    return fits && *text == '\0';
}

static bool date_is_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Since 1970, of the Gregorian calendar. */
static int64_t date_seconds(const int parts[PARTS])
{
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    int64_t years = parts[YEAR] - 1, days;

    days = years * 365 + years / 4 - years / 100 + years / 400 - 719162 + before[parts[MONTH]] + parts[DAY] - 1 +
           (date_is_leap(parts[YEAR]) && parts[MONTH] > 1);
    return ((days * 24 + parts[HOUR]) * 60 + parts[MINUTE]) * 60 + parts[SECOND];
}

bool cf_date_read(const char *text, int64_t now, int64_t *date)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    static const int64_t fifty_years = INT64_C(50) * 36525 * 864; /* of 365.25 days */
    int parts[PARTS];

    if (!date_read_form(text, "w, d m Y h:i:s GMT", parts) && !date_read_form(text, "w m e h:i:s Y", parts)) {
        if (!date_read_form(text, "W, d-m-y h:i:s GMT", parts))
            return false;
        do
            parts[YEAR] += 100;
        while (date_seconds(parts) <= now + fifty_years);
        parts[YEAR] -= 100;
    }
    *date = date_seconds(parts);
    return parts[HOUR] <= 23 && parts[MINUTE] <= 59 && parts[SECOND] <= 60 && parts[DAY] >= 1 &&
           parts[DAY] <= lengths[parts[MONTH]] + (parts[MONTH] == 1 && date_is_leap(parts[YEAR]));
}
