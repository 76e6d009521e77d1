---@meta cfpurge.core
--- The arguments and results of the public functions, and those of `cfpurge.core`, which is C: for a language server.
--- Nothing loads this file.

---@class cfpurge.Variant one variant of a page
---@field url string
---@field headers? table<string, string> CF-Device-Type, CF-IPCountry, Accept-Language, Origin

---@alias cfpurge.File string|cfpurge.Variant an absolute http(s) URL

--- A list, or an iterator, which is read as it is sent.
---@alias cfpurge.Files cfpurge.File[]|(fun(): cfpurge.File?)|cfpurge.Lines
---@alias cfpurge.Texts string[]|(fun(): string?)|cfpurge.Lines

---@class cfpurge.Place where something is purged
---@field zone_id? string in place of the client's
---@field zone? string its name, in place of zone_id, or "auto"
---@field environment_id? string
---@field environment? string its name, in place of environment_id

---@class cfpurge.FilesParams: cfpurge.Place
---@field files cfpurge.Files

---@class cfpurge.TagsParams: cfpurge.Place
---@field tags cfpurge.Texts

---@class cfpurge.HostsParams: cfpurge.Place
---@field hosts cfpurge.Texts

---@class cfpurge.PrefixesParams: cfpurge.Place
---@field prefixes cfpurge.Texts host/path

---@class cfpurge.EverythingParams: cfpurge.Place
---@field purge_everything true

--- What is purged: exactly one of the five kinds.
---@alias cfpurge.Params
---| cfpurge.FilesParams
---| cfpurge.TagsParams
---| cfpurge.HostsParams
---| cfpurge.PrefixesParams
---| cfpurge.EverythingParams

---@alias cfpurge.ListKind "files"|"tags"|"hosts"|"prefixes"
---@alias cfpurge.PurgeKind cfpurge.ListKind|"everything"
---@alias cfpurge.Plan "free"|"pro"|"business"|"enterprise"

--- The kind of an error.
---@alias cfpurge.Kind
---| "invalid_request" refused here, before anything was sent
---| "partial" a list of which some items were accepted, or that failed for different reasons
---| "bad_request" status 400, or a code that says as much
---| "authentication" status 401, or a code
---| "permission_denied" status 403, or a code
---| "not_found" status 404, or a code
---| "conflict" status 409
---| "unprocessable" status 422
---| "rate_limited" status 429, or a code
---| "server" status 500 to 599
---| "api" any other status, or `success` is not true
---| "connection" no connection, or it broke
---| "tls" the certificate or the handshake failed
---| "timeout" `timeout`, `connect_timeout` or `deadline` has passed
---| "bad_response" the answer is not JSON, was cut short, or is too large
---| "queue_full" `max_queued` of a client, or `capacity` of a queue, is reached
---| "store" the store of a queue could not be reached, read or written
---| "cancelled" you cancelled it
---| "closed" you closed the client or the queue

--- What the API refused.
---@alias cfpurge.About "item"|"size"|"rate"|"credential"|"zone"|"plan"|"request"

---@class cfpurge.Account
---@field id string
---@field name? string

---@class cfpurge.Zone
---@field id string
---@field name string
---@field status? string "active", or why it is not
---@field account? cfpurge.Account
---@field plan? string "free", "pro", "business", "enterprise" or another

---@class cfpurge.Environment
---@field id string
---@field name string

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
---@field retry_for? number seconds of trying again, in place of max_retries; a 429 is waited for beside it
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
---@field plan? cfpurge.Plan|"auto"
---@field share? integer this client may use one part in so many of the plan
---@field rate? cfpurge.Rate in place of the plan's
---@field max_connections? integer over HTTP/2 one carries many requests
---@field max_queued? integer requests that may wait
---@field exit_grace? number how long `drain`, and Neovim as it ends, wait for what is in flight
---@field loop? cfpurge.LoopName|cfpurge.Loop
---@field on_event? fun(event: cfpurge.Event) what it raises is lost

---@class cfpurge.Rate
---@field requests? number a second
---@field requests_bucket? number at once
---@field urls? number a second
---@field urls_bucket? number at once
---@field overall? number calls in 5 minutes
---@field address? number calls a second from this machine

---@alias cfpurge.LoopName "auto"|"openresty"|"luv"|"haproxy"|"prosody"|"cqueues"|"copas"|"blocking"

---@class cfpurge.CallOptions: cfpurge.RequestOptions the last argument of a call
---@field environment_id? string
---@field environment? string its name, in place of environment_id
---@field invalidate? boolean
---@field dry_run? boolean true: the result is a cfpurge.Planned
---@field on_progress? fun(progress: cfpurge.Progress)

--- A host of your own. `wait` returns when `request:done()`; the request's `wake`, which it may set, is called then.
--- `drive` is called when something begins and when nothing is in flight any more: it sees that `step` is called while
--- `active`.
---@class cfpurge.Loop
---@field wait fun(of: cfpurge.Client|cfpurge.Queue, request: cfpurge.Request): boolean?, string? false and why not
---@field drive fun(of: cfpurge.Client|cfpurge.Queue): boolean?, string? false and why not
---@field yields? boolean `step` is called in a coroutine in which an iterator may yield; else it gets one of its own

---@alias cfpurge.OnDone fun(result?: cfpurge.Result, err?: cfpurge.Error)
---@alias cfpurge.OnAdded fun(added?: cfpurge.Added, err?: cfpurge.Error)
---@alias cfpurge.OnZones fun(zones?: cfpurge.Zone[], err?: cfpurge.Error)
---@alias cfpurge.OnEnvironments fun(environments?: cfpurge.Environment[], err?: cfpurge.Error)

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
---@field kind? cfpurge.Kind of the failure
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
---@field messages cfpurge.Message[] errors too that came with a success

---@class cfpurge.Message an error or a message as the API has sent it
---@field code? integer
---@field message? string
---@field documentation_url? string
---@field source? cfpurge.Source
---@field error_chain? cfpurge.Message[]

---@class cfpurge.Source
---@field pointer? string into the request's body

---@class cfpurge.PlannedRequest
---@field path string without base_url's
---@field body string
---@field items integer

---@class cfpurge.Planned the result of a dry run
---@field dry_run true
---@field requests cfpurge.PlannedRequest[]
---@field items integer
---@field seconds number by the plan

---@class cfpurge.Error with __tostring and __concat
---@field kind cfpurge.Kind
---@field message string
---@field status? integer
---@field code? integer of the first of `errors` that says what was refused
---@field errors cfpurge.Message[]
---@field about? cfpurge.About nil where the API did not say
---@field messages cfpurge.Message[]
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
---@field limit? integer of `cfpurge.core`, for a list that is too long: how many items one request holds
---@field reason? string of the kind `store`: "busy", "full", "readonly", "connection", ...
---@field waiting? integer of a queue's `drain` whose deadline has passed: items that are left, where the store has told

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
---@field loop? cfpurge.LoopName|cfpurge.Loop where there is no client
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

---@class cfpurge.QueueDrainOptions
---@field deadline? number seconds

---@class cfpurge.QueueDrained
---@field waiting integer items
---@field failed integer items that were refused for good

---@class cfpurge.QueueStatus
---@field waiting integer items
---@field in_flight integer items that a worker has claimed
---@field failed integer items that were refused for good
---@field oldest? number seconds since the first item has been due; nil where none is
---@field paused cfpurge.QueuePause[] zones that rest
---@field resting table<cfpurge.Kind, integer> how many, by the kind of the error that is to blame
---@field calls integer requests of all workers in the last 5 minutes
---@field held number seconds that the server has all wait with every request
---@field budgets cfpurge.QueueBudget[]
---@field durability string
---@field working boolean does this process send?

---@class cfpurge.QueuePause
---@field zone string
---@field seconds number until it is tried again
---@field why? string

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
---@field kind? cfpurge.PurgeKind
---@field older_than? number seconds

---@class cfpurge.QueueFailedFilter: cfpurge.QueueFilter
---@field limit? integer how many (100)

---@class cfpurge.QueueFailed
---@field zone string
---@field environment? string its name
---@field environment_id? string in its place
---@field invalidate boolean
---@field kind cfpurge.PurgeKind
---@field item? cfpurge.File
---@field error cfpurge.StoredError
---@field age number seconds

---@class cfpurge.StoredError the facts of an error that a store keeps
---@field kind cfpurge.Kind
---@field message string
---@field about? cfpurge.About
---@field status? integer
---@field code? integer
---@field ray_id? string
---@field field? string

---@class cfpurge.QueueEvent of a worker: a request has ended, or the store has failed
---@field name "accepted"|"failed"|"rest"|"held"|"store" `failed`: refused for good; `rest`: its zone; `held`: by a 429
---@field zone? string as are the next six, but of `store`
---@field environment? string its name
---@field environment_id? string in its place
---@field invalidate? boolean
---@field kind? cfpurge.PurgeKind
---@field items? integer how many were accepted
---@field item? cfpurge.File of `failed`
---@field error? cfpurge.Error|cfpurge.StoredError of `failed` the stored one
---@field seconds? number of `held`

---@class cfpurge.VariantHeaders the values of each header of `variants`
---@field device? string[] CF-Device-Type
---@field country? string[] CF-IPCountry
---@field language? string[] Accept-Language
---@field origin? string[] Origin

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
---@field outcomes table<cfpurge.Kind|"accepted", cfpurge.Outcome> by how they ended; only what there was
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

---@class cfpurge.Option of `core.options`
---@field name string
---@field type "string"|"number"|"integer"|"boolean"|"table"|"function"|"string or table"
---@field scope "client"|"request"|"call" "request": of a client and of a call
---@field default? string|number|boolean
---@field env? string the environment's variable

---@class cfpurge.CoreClient the core's own, for a program that embeds it: a purge is a number, its id
---@field purge fun(self, params: cfpurge.Params, options?: cfpurge.CallOptions): cfpurge.Result?, cfpurge.Error?
---@field purge_environment fun(self, id: string, params: cfpurge.Params, options?: cfpurge.CallOptions): cfpurge.Result?, cfpurge.Error?
---@field start fun(self, params: cfpurge.Params, options?: cfpurge.CallOptions): integer?, cfpurge.Error?
---@field cancel fun(self, id: integer): boolean
---@field step fun(self, timeout?: number): integer how many are in flight
---@field take fun(self): integer?, cfpurge.Result?, cfpurge.Error? the id of one that has ended, and how
---@field fileno fun(self): integer?
---@field timeout fun(self): number?
---@field stats fun(self): cfpurge.Stats
---@field close fun(self)

---@class cfpurge.core
---@field [string] any what it has besides is ours
---@field version string
---@field options cfpurge.Option[]
---@field kinds cfpurge.ListKind[]
---@field new fun(options?: cfpurge.Options): cfpurge.CoreClient?, string?, cfpurge.Error?
---@field purge fun(params: cfpurge.Params, options?: cfpurge.CallOptions): cfpurge.Result?, cfpurge.Error?
---@field purge_environment fun(id: string, params: cfpurge.Params, options?: cfpurge.CallOptions): cfpurge.Result?, cfpurge.Error?

return {} --[[@as cfpurge.core]]
