-- Instants are microseconds since 1970, lists are JSON, digests are 32 bytes.

create table tower_schema (
    version integer not null
) strict;

insert into tower_schema (version) values (0);

-- One row: a file is one tenant. `ops` grows with every change of the ledger, `seq` numbers its
-- events, `key_seq` the changes of keys.
create table tower_tenant (
    id integer primary key check (id = 1),
    clock integer not null,
    seq integer not null,
    limited_edition integer not null check (limited_edition in (0, 1)),
    ops integer not null,
    key_seq integer not null
) strict;

-- The clock starts at the first instant there is.
insert into tower_tenant (id, clock, seq, limited_edition, ops, key_seq)
values (1, -377705023201000000, 0, 0, 0, 0);

create table tower_key (
    id text not null primary key,
    digest blob not null,
    previous_digest blob,
    previous_until integer,
    hint text not null,
    name text not null,
    environment text not null,
    created_at integer not null,
    last_used_at integer,
    expires_at integer,
    revoked_at integer,
    enabled integer not null check (enabled in (0, 1)),
    administrator integer not null check (administrator in (0, 1)),
    scopes text not null,
    tier text,
    owner text,
    allowed_addresses text not null,
    modules text not null,
    revision integer not null
) strict, without rowid;

-- Current and previous digests of all keys: no two keys share one.
create table tower_key_digest (
    digest blob not null primary key,
    key text not null
) strict, without rowid;

-- What other processes read to learn which keys changed. `added`: a digest can be found that could
-- not before. Old rows are deleted.
create table tower_key_change (
    seq integer primary key,
    key text not null,
    added integer not null check (added in (0, 1))
) strict;
