-- Tasks: one row each. The columns before the summary are core.index.index_of's answer and what a
-- submitter decided; the document comes last, so that a list reads no page of it.
CREATE TABLE tasks (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL,
  version INTEGER NOT NULL,
  user TEXT NOT NULL,
  key TEXT,
  name TEXT NOT NULL,               -- case-folded, for searching
  add_time REAL NOT NULL,
  status TEXT NOT NULL,
  class INTEGER,                    -- of classes; NULL where no replica is ready
  priority INTEGER NOT NULL,
  transition_time REAL,             -- NULL where the task waits for no time
  assimilate INTEGER NOT NULL,
  held TEXT,                        -- JSON list of executors, NULL for none
  labels TEXT,                      -- JSON object, NULL for none
  blobs TEXT,                       -- JSON list of digests, NULL for none
  summary BLOB NOT NULL,
  document BLOB NOT NULL
);
CREATE UNIQUE INDEX tasks_id ON tasks (id);
CREATE UNIQUE INDEX tasks_key ON tasks (user, key) WHERE key IS NOT NULL;
CREATE INDEX tasks_ready ON tasks (class, priority DESC, id) WHERE class IS NOT NULL;
CREATE INDEX tasks_due ON tasks (transition_time, id) WHERE transition_time IS NOT NULL;
CREATE INDEX tasks_assimilate ON tasks (id) WHERE assimilate = 1;
CREATE INDEX tasks_blobs ON tasks (seq) WHERE blobs IS NOT NULL;
-- Lists. Those that no update touches carry what a filter may look at.
CREATE INDEX tasks_list ON tasks (id, add_time, name);
CREATE INDEX tasks_user ON tasks (user, id, add_time, name);
CREATE INDEX tasks_status ON tasks (status, id);
CREATE INDEX tasks_user_status ON tasks (user, status, id);

-- Requirement classes by number, so that a million index entries need not spell them.
CREATE TABLE classes (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);

-- What follows from rows of tasks is kept by triggers, so that the two cannot differ.
CREATE TABLE holds (
  executor TEXT NOT NULL, task TEXT NOT NULL, PRIMARY KEY (executor, task)
) WITHOUT ROWID;
CREATE TABLE labels (
  key TEXT NOT NULL, value TEXT NOT NULL, task TEXT NOT NULL, PRIMARY KEY (key, value, task)
) WITHOUT ROWID;
CREATE TABLE counts (
  user TEXT NOT NULL, status TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (user, status)
) WITHOUT ROWID;

CREATE TRIGGER task_counted AFTER INSERT ON tasks BEGIN
  INSERT INTO counts VALUES (new.user, new.status, 1)
    ON CONFLICT DO UPDATE SET number = number + 1;
END;
CREATE TRIGGER task_recounted AFTER UPDATE OF status ON tasks WHEN old.status <> new.status BEGIN
  UPDATE counts SET number = number - 1 WHERE user = old.user AND status = old.status;
  INSERT INTO counts VALUES (new.user, new.status, 1)
    ON CONFLICT DO UPDATE SET number = number + 1;
END;
CREATE TRIGGER task_discounted AFTER DELETE ON tasks BEGIN
  UPDATE counts SET number = number - 1 WHERE user = old.user AND status = old.status;
END;
CREATE TRIGGER task_held AFTER INSERT ON tasks WHEN new.held IS NOT NULL BEGIN
  INSERT INTO holds SELECT value, new.id FROM json_each(new.held);
END;
CREATE TRIGGER task_reheld AFTER UPDATE OF held ON tasks WHEN old.held IS NOT new.held BEGIN
  DELETE FROM holds
    WHERE task = old.id AND executor IN (SELECT value FROM json_each(coalesce(old.held, '[]')));
  INSERT INTO holds SELECT value, new.id FROM json_each(coalesce(new.held, '[]'));
END;
CREATE TRIGGER task_released AFTER DELETE ON tasks WHEN old.held IS NOT NULL BEGIN
  DELETE FROM holds
    WHERE task = old.id AND executor IN (SELECT value FROM json_each(old.held));
END;
CREATE TRIGGER task_labelled AFTER INSERT ON tasks WHEN new.labels IS NOT NULL BEGIN
  INSERT INTO labels SELECT key, value, new.id FROM json_each(new.labels);
END;
CREATE TRIGGER task_unlabelled AFTER DELETE ON tasks WHEN old.labels IS NOT NULL BEGIN
  DELETE FROM labels
    WHERE task = old.id
      AND (key, value) IN (SELECT key, value FROM json_each(old.labels));
END;

CREATE TABLE executors (name TEXT PRIMARY KEY, last_report REAL NOT NULL, document BLOB NOT NULL);

-- Beside the task, never in its version.
CREATE TABLE running (
  task TEXT NOT NULL, number INTEGER NOT NULL, document BLOB NOT NULL, PRIMARY KEY (task, number)
) WITHOUT ROWID;
CREATE TABLE output (
  seq INTEGER PRIMARY KEY,
  task TEXT NOT NULL,
  number INTEGER NOT NULL,
  stream TEXT NOT NULL,
  start INTEGER NOT NULL,
  stop INTEGER NOT NULL,
  data BLOB NOT NULL
);
CREATE UNIQUE INDEX output_place ON output (task, number, stream, start, stop);

CREATE TABLE users (name TEXT PRIMARY KEY, document BLOB NOT NULL);
CREATE TABLE tokens (
  id TEXT PRIMARY KEY, hash TEXT NOT NULL, created REAL NOT NULL, document BLOB NOT NULL
);
CREATE INDEX tokens_hash ON tokens (hash);
CREATE INDEX tokens_created ON tokens (created, id);
