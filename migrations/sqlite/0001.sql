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

-- How often keys were used: requests of one key that came to the same in one hour, which begins at
-- `hour`. Old rows are deleted.
create table tower_usage (
    key text not null,
    hour integer not null,
    outcome text not null,
    count integer not null,
    primary key (key, hour, outcome)
) strict, without rowid;
create index tower_usage_by_hour on tower_usage (hour);

-- What other processes read to learn which keys changed. `added`: a digest can be found that could
-- not before. Old rows are deleted.
create table tower_key_change (
    seq integer primary key,
    key text not null,
    added integer not null check (added in (0, 1))
) strict;

-- The license ledger. Instants are microseconds since 1970; `seq` is the number of the event that
-- made the row what it is.

create table tower_holder (
    holder text primary key not null,
    enabled integer not null,
    active_until integer,
    revoked integer not null
) strict, without rowid;
create index tower_holder_by_end on tower_holder (active_until) where active_until is not null and revoked = 0;

create table tower_assignment (
    holder text not null,
    module text not null,
    seq integer not null,
    at integer not null,
    primary key (holder, module)
) strict, without rowid;
create index tower_assignment_by_module on tower_assignment (module, holder);

-- The license a module needs; null: none.
create table tower_module (
    module text primary key not null,
    license text
) strict, without rowid;

-- Seats: null: without a limit.
create table tower_license (
    license text primary key not null,
    seats integer,
    valid_until integer
) strict, without rowid;
create index tower_license_by_end on tower_license (valid_until) where valid_until is not null;

-- Who is in line for a license: by the earliest assignment that needs it, with a seat or waiting.
create table tower_place (
    license text not null,
    holder text not null,
    seq integer not null,
    at integer not null,
    seat integer,
    seat_at integer,
    primary key (license, holder)
) strict, without rowid;
create index tower_place_by_holder on tower_place (holder);
create unique index tower_place_reserved on tower_place (license, seat) where seat is not null;
create unique index tower_place_waiting on tower_place (license, seq) where seat is null;

-- The log: `event` is the entry as JSON, with its kind and what belongs to that.
create table tower_event (
    seq integer primary key not null,
    at integer not null,
    actor text not null,
    event text not null
) strict;
