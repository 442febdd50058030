// The wire between judicators and everybody else: executors, gateways, other judicators.
//
// Protocol: strict binary in a framed transport. A frame has at most 8 MiB; a request at most 65,536
// elements (fields, list elements, map entries), 64 KiB in one string and 1 MiB in one binary. The
// sequence number of a message is echoed by its answer, and a client checks it. One connection
// carries one call at a time; it may be idle for ever once it has carried one.
//
// Whatever a foreign client needs for ping, cancel, report, executors, blobs and live output is
// typed here. A `binary` field named `task`, `query` or `page`, and what the calls of batches take and
// give as `binary`, holds a whole document, which is a msgpack map by field name: the structs NewTask,
// Task, Query, Page, NewBatch, Batch, BatchQuery, BatchPage and BatchView of accord.core. Program
// output is always `binary`.
//
// What is empty, zero, false or not set may be left out. What is required is marked so: a message
// without it is answered by a Fault of code "invalid". Times are seconds since the epoch, by the
// store's clock; durations are seconds; sizes are bytes.

namespace * accord

/** What a replica in progress is at. */
enum Phase { FETCHING = 1, COMPILING = 2, RUNNING = 3, JUDGING = 4 }

/** What a program did. */
enum Verdict {
  OK = 1, COMPILE_ERROR = 2, RUNTIME_ERROR = 3, WRONG_ANSWER = 4, FORMAT_ERROR = 5,
  TIME_LIMIT = 6, MEMORY_LIMIT = 7, OUTPUT_LIMIT = 8, DISK_LIMIT = 9
}

/** What became of a replica as a run; stands in task documents, by its name in lower case. */
enum Outcome {
  SUCCESS = 1, CLIENT_ERROR = 2, NO_REPLY = 3, COULDNT_SEND = 4, DIDNT_NEED = 5,
  VALIDATE_ERROR = 6, ABORTED = 7, DETACHED = 8
}

/** Why the infrastructure failed a replica. */
enum ErrorClass { NETWORK_FAIL = 1, INTERNAL_FAIL = 2, RESOURCE_FAIL = 3, LOST = 4, BAD_INPUT = 5 }

/** What a user sees of a task. */
enum Status {
  PENDING = 1, COMPILING = 2, RUNNING = 3, VALIDATING = 4, RETRYING = 5, CANCELLING = 6,
  SUCCESS = 7, COMPILE_FAILED = 8, RUN_FAILED = 9, WRONG_ANSWER = 10, FORMAT_ERROR = 11,
  FAILED = 12, SKIPPED = 13, CANCELLED = 14
}

/** Whether work is sent to an executor. */
enum ExecutorState { ONLINE = 1, DRAINING = 2, QUARANTINED = 3, LOST = 4 }

/** What a token may do; each includes the ones after it. */
enum Role { ADMIN = 1, SUBMITTER = 2, READER = 3 }

/** A fact of a fault: at most one of these is set. */
struct Fact {
  1: optional string text
  2: optional i64 whole
  3: optional double real
}

/** The one error that every call may raise. */
exception Fault {
  /** Stable; docs/reference/errors.md lists them all. */
  1: required string code
  /** For a person: what is the case, and what to do next. */
  2: required string message
  3: optional map<string, Fact> fields
}

/** A judicator's sign of life. */
struct Pong {
  1: required string name
  2: required string version
  3: required double now
  4: required bool leader
}

/** Some bytes: here in `data`, or (not set) in the blob of that digest. */
struct Content {
  /** SHA-256 in 64 lower-case hexadecimal digits. */
  1: required string digest
  2: required i64 size
  3: optional binary data
}

/** What one step did. Exactly one of exit_code and signal is set once it has run. */
struct StepResult {
  1: optional i32 exit_code
  2: optional i32 signal
  3: optional double wall_time
  4: optional double cpu_time
  5: optional i64 peak_memory
  6: optional i32 processes
  /** The name of the limit that was hit, a field of a step's limits. */
  7: optional string limit
  /** Not set: nothing was printed. */
  8: optional Content stdout
  9: optional Content stderr
  10: optional bool stdout_truncated
  11: optional bool stderr_truncated
  /** Of a compile step: taken from an earlier run of the same step for the same user. */
  12: optional bool cached
  /** Bytes that its processes wrote, wherever to. */
  13: optional i64 written
}

/** The end of a replica that the box ran to a verdict, whichever. */
struct Result {
  1: required Verdict verdict
  2: optional StepResult compile
  3: optional StepResult execute
  /** Kept output files by relative path. */
  4: optional map<string, Content> kept
  5: optional list<string> kept_dropped
}

/** The end of a replica that could not be run. */
struct Failure {
  1: required ErrorClass error_class
  2: required string message
  3: optional bool started
}

/** A replica of a task. */
struct ReplicaRef {
  1: required string task
  2: required i32 number
}

/**
 * The end of a replica; repeated until Orders.stored names it. Neither result nor failure: it was
 * killed on request and its box is empty (killed), or is handed back before it began (not started).
 */
struct Finished {
  1: required string task
  2: required i32 number
  /** The session of its assignment. */
  3: required string session
  4: optional Result result
  5: optional Failure failure
  6: optional bool killed
  7: required bool started
}

/** A replica that an executor knows of: waiting, running, or not yet acknowledged. */
struct Held {
  1: required string task
  2: required i32 number
  3: required string session
  4: optional Phase phase
}

/** A piece of live output. `stream`: stdout, stderr, compile_stdout or compile_stderr. */
struct Chunk {
  1: required string task
  2: required i32 number
  3: required string stream
  4: required i64 offset
  5: required binary data
}

/** How well an executor's box holds, and why no better. */
struct Isolation {
  1: required string level
  2: optional string why
  /** Self-tests by name: "held", or "not run: " and why. */
  3: optional map<string, string> checks
}

/** What an executor says of itself when it introduces a session. */
struct ExecutorInfo {
  1: required string name
  2: required string instance_key
  3: required string session
  4: optional string owner
  5: optional string address
  6: optional list<string> tags
  /** Preset name to the version that its probe printed; others of a preset are NAME@WHICH. */
  7: optional map<string, string> languages
  8: optional string os
  9: optional string cpu
  10: required i32 cores
  11: optional i64 memory
  12: required i32 slots
  13: required Isolation isolation
  14: optional string version
  /** How fast one of its cores is; a typical one is 1. */
  15: optional double benchmark
  /** Whether tasks that ask for the network get it there. */
  16: optional bool network
}

/** How an executor stands with one class of tasks. */
struct Standing {
  1: required string task_class
  2: optional i64 consecutive_valid
  3: optional i64 checked
  4: optional i64 caught
  5: optional double error_rate
  /** Mean seconds from sending to the report. */
  6: optional double turnaround
  /** Replicas that it may begin today, on all slots. */
  7: optional i64 quota
  8: optional i64 sent_today
  /** Infrastructure failures in a row. */
  9: optional i64 failures
  10: optional double quarantined_until
  11: optional double rests_until
  12: optional bool trusted
  13: optional bool reliable
  14: optional double credit
  /** Why it gets no work of the class, or but one task. */
  15: optional string note
}

/** What was granted, by name. */
struct Credit {
  1: required map<string, double> users
  2: required map<string, double> owners
}

/** An executor as the judicators know it. */
struct Executor {
  1: required ExecutorInfo info
  2: required ExecutorState state
  3: optional double registered
  4: optional double last_report
  /** Quarantined by a person: it stays so when it comes back. */
  5: optional bool held
  // 6 and 7 were used once
  8: optional list<Standing> standings
}

/** One call of an executor. A push has neither wait nor vacancy; a poll names all it holds. */
struct Report {
  1: required string executor
  2: required string session
  /** Rises with every call of the same kind in a session. */
  3: required i64 sequence
  4: required bool poll
  /** First in a session, and after a Fault of code "unknown_session". */
  5: optional ExecutorInfo hello
  6: optional list<Finished> complete
  7: optional list<Held> progress
  8: optional list<Chunk> output
  9: optional list<Held> holds
  10: optional i32 vacant
  11: optional double wait
  12: optional bool draining
}

/** A replica to run. Its document carries blobs by digest: fetch them by read_blob. */
struct Assignment {
  1: required binary task
  2: required i32 number
  3: required string session
}

/** The answer to a report. */
struct Orders {
  /** Echo of the report's. */
  1: required i64 sequence
  /** The replicas of `complete` that need not be repeated. */
  2: optional list<ReplicaRef> stored
  3: required bool output_stored
  4: optional list<Assignment> assign
  /** Replicas to kill (or forget) and to report as killed. */
  5: optional list<ReplicaRef> cancel
  /** Seconds for which the poll was held because there was nothing to tell. */
  6: optional double held
}

/** A task as it is read. */
struct TaskView {
  1: required binary task
  2: required Status status
  /** What its replicas in progress are at, by their numbers. */
  3: optional map<i32, Phase> phases
}

/** What happened to a task since a cursor. */
struct News {
  1: optional TaskView view
  2: optional list<Chunk> chunks
  3: optional string cursor
  /** Nothing more will come after this. */
  4: optional bool done
}

/** A piece of a batch's results. */
struct Results {
  /** A JSON object for each task, in order of their places. */
  1: optional list<binary> lines
  /** The cursor of the next piece; not set on the last. */
  2: optional string cursor
}

/** A bearer token. Only the SHA-256 of its secret is kept. */
struct Token {
  1: required string id
  2: required string user
  3: required Role role
  4: required string hash
  5: required double created
  6: optional double expires
  7: optional double revoked
  8: optional string note
}

/** The token, not set where there is none. */
struct MaybeToken {
  1: optional Token token
}

/** A stored blob. */
struct Blob {
  1: required string digest
  2: required i64 size
}

/** The size, not set where there is none. */
struct MaybeSize {
  1: optional i64 size
}

service Judicator {
  Pong ping() throws (1: Fault fault)

  /** Add at most 100 tasks (each a NewTask document of at most 1 MiB), all or none. */
  list<binary> add(1: list<binary> tasks) throws (1: Fault fault)

  TaskView cancel(1: string id) throws (1: Fault fault)

  /** A new task of the same content (`retry` is a reserved word in Thrift). */
  binary retry_task(1: string id) throws (1: Fault fault)

  void purge(1: string id) throws (1: Fault fault)

  /** A Page document for a Query document. */
  binary search(1: binary query) throws (1: Fault fault)

  /** A Batch document for a NewBatch document. */
  binary create_batch(1: binary batch) throws (1: Fault fault)

  /**
   * Add at most 100 tasks (each a NewTask document of at most 1 MiB) to a batch, all or none, from
   * the place `at` on (-1: at its end), then close it if asked to. A Batch document.
   */
  binary extend_batch(1: string id, 2: i64 at, 3: list<binary> tasks, 4: bool close) throws (1: Fault fault)

  /** A BatchView document. With `wait`: when it is done, or after that many seconds. */
  binary batch(1: string id, 2: double wait) throws (1: Fault fault)

  /** A BatchPage document for a BatchQuery document. */
  binary batches(1: binary query) throws (1: Fault fault)

  /** A BatchView document. */
  binary cancel_batch(1: string id) throws (1: Fault fault)

  /** A BatchView document. */
  binary retry_batch(1: string id) throws (1: Fault fault)

  void purge_batch(1: string id) throws (1: Fault fault)

  /** At most `limit` lines (and 100) from the cursor on ("": from the first). */
  Results results(1: string id, 2: string cursor, 3: i64 limit) throws (1: Fault fault)

  map<Status, i64> counts() throws (1: Fault fault)

  /** With `wait`: when it is done, or after that many seconds. */
  TaskView get(1: string id, 2: double wait) throws (1: Fault fault)

  /** A certificate of the task's result, as a file of at most 1 MiB. */
  binary certificate(1: string id) throws (1: Fault fault)

  /** The raw Ed25519 public key by which certificates are signed, 32 bytes. */
  binary public_key() throws (1: Fault fault)

  string explain(1: string id) throws (1: Fault fault)

  News follow(1: string id, 2: string cursor, 3: double wait) throws (1: Fault fault)

  Orders report(1: Report report) throws (1: Fault fault)

  list<Executor> executors() throws (1: Fault fault)

  Credit credit() throws (1: Fault fault)

  /** `verb`: drain, quarantine, release or forget. */
  Executor steer(1: string name, 2: string verb) throws (1: Fault fault)

  list<Pong> judicators() throws (1: Fault fault)

  /** The live token with that hash. */
  MaybeToken authenticate(1: string hash) throws (1: Fault fault)

  void put_token(1: Token token) throws (1: Fault fault)

  list<Token> tokens() throws (1: Fault fault)

  /** Append at most 1 MiB to an upload that the caller named by a random string. */
  void write_blob(1: string upload, 2: i64 offset, 3: binary data) throws (1: Fault fault)

  Blob commit_blob(1: string upload) throws (1: Fault fault)

  /** At most `size` bytes, and 1 MiB; empty at its end. */
  binary read_blob(1: string digest, 2: i64 offset, 3: i64 size) throws (1: Fault fault)

  MaybeSize blob_size(1: string digest) throws (1: Fault fault)
}
