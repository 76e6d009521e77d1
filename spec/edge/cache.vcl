# The caches: one Varnish, two listeners, each a cache of its own (an environment of the zone).
# X-Cache, and CF-Cache-Status with it, says HIT, MISS, REVALIDATED (was stale, 304) or EXPIRED (was stale, and the page had changed).
vcl 4.1;
import std;
import purge;
import blob;

backend origin { .host = "127.0.0.1"; .port = "@ORIGIN@"; }

sub vcl_recv {
  set req.http.X-Cache-Env = local.socket;
  if (req.http.X-Forwarded-Proto != "https") { set req.http.X-Forwarded-Proto = "http"; }
  set req.http.host = std.tolower(req.http.host);
  if (req.http.X-Forwarded-Proto == "https") {
    set req.http.host = regsub(req.http.host, ":443$", "");
  } else {
    set req.http.host = regsub(req.http.host, ":80$", "");
  }
  set req.http.X-Key = req.http.X-Cache-Env + "|" + req.http.X-Forwarded-Proto + "|" + req.http.host + "|" + req.url;
  if (req.url ~ "^/vary/") {
    set req.http.X-Key = req.http.X-Key + "|" + req.http.CF-Device-Type + "|" + req.http.CF-IPCountry + "|" +
      req.http.Accept-Language + "|" + req.http.Origin;
  }
  # Not purge.hard(): what it purged can be revalidated until the expiry thread has been there (EXPIRED, not MISS).
  if (req.method == "PURGE") {
    set req.http.X-Ban = "obj.http.x-key == " +
      blob.transcode(IDENTITY, BASE64URLNOPAD, encoded=req.http.X-Key);
  }
  if (req.method == "BAN" || req.method == "PURGE") {
    if (std.ban(req.http.X-Ban)) { return (synth(200)); }
    return (synth(400, std.ban_error()));
  }
  if (req.url == "/ready") { return (pass); }
  if (req.method != "GET" && req.method != "HEAD" && req.method != "SOFTPURGE") {
    return (pass);
  }
  return (hash);
}

sub vcl_hash {
  hash_data(req.http.X-Key);
  return (lookup);
}

sub purge_it {
  if (req.method == "SOFTPURGE") {
    purge.soft(0s, 0s, 1h);
    return (synth(200));
  }
}

sub vcl_hit {
  call purge_it;
  return (deliver);
}

sub vcl_miss {
  call purge_it;
  return (fetch);
}

sub vcl_backend_response {
  set beresp.ttl = 1h;
  set beresp.grace = 0s;
  set beresp.keep = 1h;
  if (beresp.was_304) {
    set beresp.http.X-Cache = "REVALIDATED";
  } else if (bereq.http.If-None-Match) {
    set beresp.http.X-Cache = "EXPIRED";
  } else {
    set beresp.http.X-Cache = "MISS";
  }
  set beresp.http.x-env = bereq.http.X-Cache-Env;
  set beresp.http.x-key = blob.transcode(IDENTITY, BASE64URLNOPAD, encoded=bereq.http.X-Key);
  set beresp.http.x-host = regsub(bereq.http.host, ":[0-9]+$", "");
  set beresp.http.x-page = blob.transcode(IDENTITY, HEX, LOWER, encoded=beresp.http.x-host + bereq.url);
  std.collect(beresp.http.Cache-Tag, ",");
  set beresp.http.x-tags = blob.transcode(IDENTITY, HEX, LOWER,
    encoded="," + regsuball(std.tolower(beresp.http.Cache-Tag), " *, *", ",") + ",");
  return (deliver);
}

sub vcl_deliver {
  if (obj.hits > 0) { set resp.http.X-Cache = "HIT"; }
  set resp.http.CF-Cache-Status = resp.http.X-Cache;
  set resp.http.CF-Ray = regsub("0000000000000000" + req.xid, "^.*(.{16})$", "\1") + "-EDG";
  # As Cloudflare does, before it answers a visitor.
  unset resp.http.Cache-Tag;
  unset resp.http.x-env;
  unset resp.http.x-key;
  unset resp.http.x-host;
  unset resp.http.x-page;
  unset resp.http.x-tags;
  return (deliver);
}

sub vcl_synth {
  set resp.body = "";
  return (deliver);
}
