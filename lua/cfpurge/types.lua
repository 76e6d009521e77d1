---@meta
--- The arguments and results of the public functions, for a language server; nothing loads it.

---@alias cfpurge.File string|{url: string, headers?: table<string, string>} an absolute http(s) URL

---@class cfpurge.Params exactly one of the five kinds
---@field purge_everything? true
---@field files? cfpurge.File[]|fun(): cfpurge.File? a list, or an iterator (a callable table too), read as it is sent
---@field tags? string[]|fun(): string?
---@field hosts? string[]|fun(): string?
---@field prefixes? string[]|fun(): string? host/path
---@field zone_id? string in place of the client's
---@field zone? string its name, in place of zone_id, or "auto"
---@field environment_id? string
---@field environment? string its name, in place of environment_id

---@class cfpurge.Zone
---@field id string
---@field name string
---@field status? string "active", or why it is not
---@field account? {id: string, name?: string}
---@field plan? string "free", "pro", "business" or "enterprise"

---@class cfpurge.Environment
---@field id string
---@field name string

---@alias cfpurge.Listed fun(self, list: table|function, options?: cfpurge.CallOptions): cfpurge.Result?, cfpurge.Error?

---@class cfpurge.RequestOptions of a client, and of one call; times are seconds
---@field api_token? string
---@field api_email? string with api_key
---@field api_key? string
---@field zone_id? string
---@field zone? string its name, in place of zone_id
---@field base_url? string
---@field timeout? number of one attempt
---@field connect_timeout? number
---@field max_retries? integer after the first attempt
---@field retry_for? number seconds of trying again, in place of max_retries
---@field max_retry_wait? number where the server orders more, its error comes at once
---@field deadline? number of all attempts and waits together
---@field max_items? integer of one request
---@field max_in_flight? integer requests of a long list
---@field isolate? boolean
---@field proxy? string its URL; "" is none
---@field ca_file? string a PEM file of CAs that are trusted beside the system's
---@field default_headers? table<string, string>
---@field user_agent? string
---@field allow_http? boolean

---@class cfpurge.Options: cfpurge.RequestOptions what `new` takes
---@field plan? "free"|"pro"|"business"|"enterprise"|"auto"
---@field share? integer this client may use one part in so many of the plan
---@field rate? table<"requests"|"requests_bucket"|"urls"|"urls_bucket"|"overall"|"address", number>
---@field max_connections? integer over HTTP/2 one carries many requests
---@field max_queued? integer requests that may wait
---@field exit_grace? number how long `drain`, and Neovim as it ends, wait for what is in flight
---@field loop? string|cfpurge.Loop
---@field on_event? fun(event: cfpurge.Event) what it raises is lost

---@class cfpurge.CallOptions: cfpurge.RequestOptions the last argument of a call
---@field environment_id? string
---@field environment? string its name, in place of environment_id
---@field invalidate? boolean
---@field dry_run? boolean
---@field on_progress? fun(progress: cfpurge.Progress)

---@class cfpurge.Loop a host of your own
---@field wait fun(client: cfpurge.Client, request: cfpurge.Request): boolean?, string? false and why it cannot
---@field drive fun(client: cfpurge.Client): boolean?, string? false and why it cannot
---@field yields? boolean `step` is called in a coroutine in which an iterator may yield; else it gets one of its own

---@class cfpurge.Progress
---@field accepted integer items
---@field failed integer items
---@field sent integer items
---@field total? integer items; nil of an iterator
---@field rate number items a second
---@field eta? number seconds

---@class cfpurge.Event
---@field name "request"|"response"|"retry"|"done"|"warning"
---@field message? string of a warning, which has nothing else
---@field id? integer
---@field method? string
---@field path? string without base_url's
---@field attempt? integer
---@field status? integer
---@field ray_id? string
---@field kind? string of the failure
---@field seconds? number
---@field bytes? integer of the body
---@field wait? number seconds before a retry

---@class cfpurge.Result what Cloudflare accepted; nothing tells when it is done
---@field id? string absent where the API sent a null result
---@field ids string[]
---@field accepted integer items
---@field requests integer
---@field attempts integer
---@field elapsed number seconds
---@field ray_id? string
---@field messages table[]

---@class cfpurge.Planned the result of a dry run
---@field dry_run true
---@field requests {path: string, body: string, items: integer}[]
---@field items integer
---@field seconds number by the plan

---@class cfpurge.Error with __tostring and __concat
---@field kind string one of README's; `partial` of a list that was accepted in part, or failed for different reasons
---@field message string
---@field status? integer
---@field code? integer of the first of `errors` that says what was refused
---@field errors {code?: integer, message?: string, error_chain?: table[]}[]
---@field about? "item"|"size"|"rate"|"credential"|"zone"|"plan"|"request" nil where the API did not say
---@field messages table[]
---@field ray_id? string
---@field attempts integer
---@field elapsed? number seconds; absent where nothing was sent
---@field retry_after? number seconds that the server ordered
---@field retryable boolean may the same purge, or any of a list's failures, succeed later?
---@field field? string such as files[3].url
---@field accepted integer items
---@field requests? integer of a list that was sent, as the next two
---@field ids? string[]
---@field failures? cfpurge.Failure[]
---@field remaining? cfpurge.Params exactly what was not accepted
---@field reason? string of the kind `store`: "busy", "full", "readonly", "connection", ...

---@class cfpurge.Failure items of a list that were not accepted for one cause
---@field error cfpurge.Error
---@field items cfpurge.File[]
---@field at integer the first one's place in the list
---@field places? integer[] that of each, where they do not follow one another

---@class cfpurge.QueueOptions what `cfpurge.queue` takes
---@field store string a path: SQLite; redis://[user[:password]@]host[:port][/db] or unix://PATH?db=0: Redis
---@field client? cfpurge.Client sends what is worked on; its zone, plan and loop are the queue's. Without one the queue
--- needs no credential and sends nothing
---@field zone? string a name or "auto", in place of the client's, or of CLOUDFLARE_ZONE_ID
---@field zone_id? string in place of zone
---@field loop? string|cfpurge.Loop where there is no client
---@field capacity? integer items, beyond which an add is `queue_full` (1,000,000)
---@field linger? number seconds that an item waits for company (0.2)
---@field lease? number seconds after which a claim that its worker does not renew is another's (60)
---@field max_in_flight? integer requests at the same time (8)
---@field on_event? fun(event: cfpurge.QueueEvent) what it raises is lost

---@class cfpurge.QueueAddOptions
---@field zone? string
---@field zone_id? string
---@field environment? string
---@field environment_id? string
---@field invalidate? boolean
---@field delay? number seconds before which it is not sent
---@field again? number seconds after its acceptance it is sent once more

---@class cfpurge.Added
---@field added integer items that wait now and did not before
---@field merged integer items that waited already

---@class cfpurge.QueueStatus
---@field waiting integer items
---@field in_flight integer items that a worker has claimed
---@field failed integer items that were refused for good
---@field oldest? number seconds since the oldest was added
---@field paused {zone: string, seconds: number, why?: string}[] zones that rest
---@field resting table<string, integer> how many, by the kind of the error that is to blame
---@field calls integer requests of all workers in the last 5 minutes
---@field held number seconds that the server has all wait with every request
---@field budgets cfpurge.QueueBudget[]
---@field durability string
---@field working boolean does this process send?

---@class cfpurge.QueueBudget what all workers share
---@field name string "account/plan", or the client's plan
---@field bucket "requests"|"urls"
---@field rate number a second; 0: no limit
---@field left number tokens
---@field size number
---@field held number seconds that the server has all wait for it

---@class cfpurge.QueueFilter
---@field zone? string
---@field environment? string its name
---@field environment_id? string in its place
---@field kind? "files"|"tags"|"hosts"|"prefixes"|"everything"
---@field older_than? number seconds
---@field limit? integer of failed: how many (100)

---@class cfpurge.QueueFailed
---@field zone string
---@field environment? string its name
---@field environment_id? string in its place
---@field invalidate boolean
---@field kind string
---@field item? cfpurge.File
---@field error table its kind, about, message, status, code, ray_id
---@field age number seconds

---@class cfpurge.QueueEvent of a worker: a request has ended, or the store has failed
---@field name "accepted"|"failed"|"rest"|"held"|"store" `failed`: refused for good; `rest`: its zone; `held`: by a 429
---@field zone? string as are the next six, but of `store`
---@field environment? string its name
---@field environment_id? string in its place
---@field invalidate? boolean
---@field kind? "files"|"tags"|"hosts"|"prefixes"|"everything"
---@field items? integer how many were accepted
---@field item? cfpurge.File of `failed`
---@field error? table
---@field seconds? number of `held`

---@class cfpurge.nvim.Options what `require "cfpurge.nvim".setup` takes, in Neovim
---@field client? cfpurge.Options
---@field url? fun(file: string): string|string[]|nil of a file, by its absolute path
---@field on_save? true|fun(file: string): cfpurge.Params? what is purged when a file was written; true: its `url`
---@field mapping? string the keys that purge the current file's `url`, in normal mode
---@field queue? true|string a store, where purges wait until they were accepted; true: CFPURGE_QUEUE, or the user's own
---@field work? boolean false: this editor sends nothing of the queue

---@class cfpurge.Stats counts since the client was made, in this process; the first five are of now
---@field in_flight integer
---@field queued integer
---@field running integer
---@field waiting integer to be retried
---@field done integer ended, not yet taken
---@field started integer
---@field finished integer
---@field attempts integer that have ended
---@field retries integer
---@field rate_limited integer attempts that the server refused for the rate
---@field connections integer
---@field bytes_sent integer
---@field bytes_received integer
---@field outcomes table<string, cfpurge.Outcome> by "accepted" or the kind of the error; only what there was
---@field bounds number[] seconds, of `within`
---@field buckets cfpurge.Buckets of all budgets what is least
---@field budgets cfpurge.Buckets[] the client's own first

---@class cfpurge.Outcome
---@field requests integer that ended so
---@field items integer in them; those of a request that was refused and split count again
---@field seconds number of all of them, from start to end
---@field within integer[] how many took at most so long as the bound, and longer than the one before

---@class cfpurge.Buckets
---@field name? string "account/plan", "queue account/plan" of what a queue sends; nil: the client's own
---@field requests cfpurge.Bucket
---@field urls cfpurge.Bucket

---@class cfpurge.Bucket
---@field rate? number a second
---@field left? number tokens; nil where nothing limits
---@field wait number seconds for the next
