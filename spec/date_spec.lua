-- The dates of HTTP: csrc/base/date, as Retry-After has them.
local host = require "spec.support.host"

local system = host.system()
local DAY = 86400

-- The C locale's, which the specs run in.
local IMF, ASCTIME, RFC850 = "!%a, %d %b %Y %H:%M:%S GMT", "!%a %b %d %H:%M:%S %Y", "!%A, %d-%b-%y %H:%M:%S GMT"

local function wait(text, now) return system.retry_after(text, now) end

describe("a date of HTTP", function()
  it("is read in its three forms, on every day and at every hour", function()
    -- os.date knows no more where time_t has 32 bits.
    for at = 1, pcall(os.date, IMF, 4100000000) and 4100000000 or 2147483647, 37 * DAY + 3607 do
      assert.equal(7, wait(os.date(IMF, at), at - 7))
      assert.equal(7, wait((os.date(ASCTIME, at):gsub(" 0(%d) ", "  %1 ", 1)), at - 7))
      assert.equal(7, wait(os.date(RFC850, at), at - 7))
    end
  end)

  it("knows the leap days, the leap second and the years after 2038", function()
    assert.equal(60, wait("Sun, 01 Jan 2040 00:00:00 GMT", 2208988800 - 60))
    assert.equal(DAY, wait("Fri, 29 Feb 2036 00:00:00 GMT", 2087769600))
    assert.equal(1, wait("Sat, 31 Dec 2016 23:59:60 GMT", 1483228799))
    for _, day in ipairs { "29 Feb 2023", "29 Feb 2100", "30 Feb 2024", "31 Apr 2024", "00 Jan 2024", "32 Jan 2024" } do
      assert.equal(-1, wait("Mon, " .. day .. " 00:00:00 GMT", 0), day)
    end
  end)

  it("of two digits of a year is the one that lies at most 50 years ahead", function()
    local now = 1700000000 -- 14 November 2023
    assert.equal(0, wait("Monday, 01-Jan-74 00:00:00 GMT", now))
    assert.equal(1e9, wait("Sunday, 01-Jan-73 00:00:00 GMT", now))
    assert.equal(0, wait("Tuesday, 14-Nov-23 22:13:19 GMT", now))
    assert.equal(5, wait("Tuesday, 14-Nov-23 22:13:25 GMT", now))
  end)

  it("is nothing that only looks like one", function()
    for _, text in ipairs {
      "sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 gmt",
      "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 06 Nov 1994 08:49:37 +0000", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994",
      "Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 94 08:49:37 GMT", "Sun, 06 Nov 1994 24:00:00 GMT",
      "Sun, 06 Nov 1994 08:60:00 GMT", "Sun, 06 Nov 1994 08:00:61 GMT", "Sun, 06 Nov 1994 8:49:37 GMT",
      "Sun,06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT ", " Sun, 06 Nov 1994 08:49:37 GMT",
      "Sun, 06-Nov-94 08:49:37 GMT", "Sunday, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-1994 08:49:37 GMT",
      "Sun Nov 6 08:49:37 1994", "Sun Nov  6 08:49:37 94", "Sun Nov  6 08:49:37 1994 GMT", "Foo, 06 Nov 1994 08:49:37 GMT",
      "1994-11-06T08:49:37Z", "06 Nov 1994 08:49:37 GMT", "Sun", "Sun, ",
    } do
      assert.equal(-1, wait(text, 0), text)
    end
  end)
end)
