-- What is known of executors by class of tasks, and what was granted for their work.
CREATE TABLE reliability (
  executor TEXT NOT NULL, class TEXT NOT NULL, document BLOB NOT NULL,
  PRIMARY KEY (executor, class)
);
CREATE TABLE credit (
  kind TEXT NOT NULL,               -- user or owner
  name TEXT NOT NULL, amount REAL NOT NULL, PRIMARY KEY (kind, name)
);
