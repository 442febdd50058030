-- What the cluster keeps for good, such as the seed of its key. The first that is written stays.
CREATE TABLE kept (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
