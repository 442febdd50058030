-- Batches. The table of tasks is built anew: what an update looks at comes before the document.
DROP TRIGGER task_counted;
DROP TRIGGER task_recounted;
DROP TRIGGER task_discounted;
DROP TRIGGER task_held;
DROP TRIGGER task_reheld;
DROP TRIGGER task_released;
DROP TRIGGER task_labelled;
DROP TRIGGER task_unlabelled;
ALTER TABLE tasks RENAME TO former_tasks;
CREATE TABLE tasks (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL,
  version INTEGER NOT NULL,
  user TEXT NOT NULL,
  key TEXT,
  name TEXT NOT NULL,               -- case-folded, for searching
  add_time REAL NOT NULL,
  status TEXT NOT NULL,
  batch TEXT,                       -- the batch in which it counts, NULL for none
  class INTEGER,                    -- of classes; NULL where no replica is ready
  priority INTEGER NOT NULL,
  transition_time REAL,             -- NULL where the task waits for no time
  assimilate INTEGER NOT NULL,
  wall REAL,                        -- seconds that a task of a batch ran, once it is done
  held TEXT,                        -- JSON list of executors, NULL for none
  labels TEXT,                      -- JSON object, NULL for none
  blobs TEXT,                       -- JSON list of digests, NULL for none
  summary BLOB NOT NULL,
  document BLOB NOT NULL
);
INSERT INTO tasks SELECT seq, id, version, user, key, name, add_time, status, NULL, class, priority,
  transition_time, assimilate, NULL, held, labels, blobs, summary, document FROM former_tasks;
DROP TABLE former_tasks;
CREATE UNIQUE INDEX tasks_id ON tasks (id);
CREATE UNIQUE INDEX tasks_key ON tasks (user, key) WHERE key IS NOT NULL;
CREATE INDEX tasks_ready ON tasks (class, priority DESC, id) WHERE class IS NOT NULL;
CREATE INDEX tasks_due ON tasks (transition_time, id) WHERE transition_time IS NOT NULL;
CREATE INDEX tasks_assimilate ON tasks (id) WHERE assimilate = 1;
CREATE INDEX tasks_blobs ON tasks (seq) WHERE blobs IS NOT NULL;
CREATE INDEX tasks_list ON tasks (id, add_time, name);
CREATE INDEX tasks_user ON tasks (user, id, add_time, name);
CREATE INDEX tasks_status ON tasks (status, id);
CREATE INDEX tasks_user_status ON tasks (user, status, id);
CREATE INDEX tasks_batch ON tasks (batch, id, add_time, name) WHERE batch IS NOT NULL;
CREATE INDEX tasks_batch_status ON tasks (batch, status, id) WHERE batch IS NOT NULL;
CREATE INDEX tasks_slow ON tasks (batch, wall, id) WHERE wall IS NOT NULL;

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

CREATE TABLE batches (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL,
  version INTEGER NOT NULL,
  user TEXT NOT NULL,
  key TEXT,
  name TEXT NOT NULL,               -- case-folded, for searching
  labels TEXT,                      -- JSON object, NULL for none
  created REAL NOT NULL,
  live INTEGER NOT NULL,            -- whether it is not done
  silent_since REAL,                -- when tasks came last, NULL where no more are expected to come
  blobs TEXT,                       -- JSON list of digests, NULL for none
  document BLOB NOT NULL
);
CREATE UNIQUE INDEX batches_id ON batches (id);
CREATE UNIQUE INDEX batches_key ON batches (user, key) WHERE key IS NOT NULL;
CREATE INDEX batches_user ON batches (user, id);
CREATE INDEX batches_live ON batches (id) WHERE live;
CREATE INDEX batches_silent ON batches (silent_since, id) WHERE silent_since IS NOT NULL;
CREATE INDEX batches_blobs ON batches (seq) WHERE blobs IS NOT NULL;

-- What changes with every commit of its tasks stands apart from a document that may be large.
CREATE TABLE counters (
  batch TEXT PRIMARY KEY,
  open INTEGER NOT NULL,            -- tasks that are not done
  waiting INTEGER NOT NULL,         -- tasks that wait to be sent
  open_mark INTEGER NOT NULL,       -- the batch is due when open, or waiting, is as low as its mark
  waiting_mark INTEGER NOT NULL,
  document BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX counters_due ON counters (batch) WHERE open <= open_mark OR waiting <= waiting_mark;
