// The same purges by Cloudflare's own SDK on Node, one after another: sdk.mjs MODULES BASE_URL PARAMS_FILE COUNT. Prints wall
// seconds and CPU seconds of COUNT purges.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const [modules, baseURL, file, count] = process.argv.slice(2);
const Cloudflare = createRequire(modules + "/")("cloudflare");
const client = new Cloudflare({ apiToken: "bench-token", baseURL, maxRetries: 0 });
const { files } = JSON.parse(readFileSync(file, "utf8"));

async function purge(times) {
  for (let i = 0; i < times; i++) await client.cache.purge({ zone_id: "fast", files });
}

await purge(Math.max(64, count / 20));
const began = process.hrtime.bigint();
const used = process.cpuUsage();
await purge(Number(count));
const { user, system } = process.cpuUsage(used);
console.log(Number(process.hrtime.bigint() - began) / 1e9, (user + system) / 1e6);
