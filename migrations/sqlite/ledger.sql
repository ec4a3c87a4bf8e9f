-- The license ledger. Instants are microseconds since 1970; `seq` is the number of the event that
-- made the row what it is.

create table holder (
    holder text primary key not null,
    enabled integer not null,
    active_until integer,
    revoked integer not null
) strict, without rowid;
create index holder_by_end on holder (active_until) where active_until is not null and revoked = 0;

create table assignment (
    holder text not null,
    module text not null,
    seq integer not null,
    at integer not null,
    primary key (holder, module)
) strict, without rowid;
create index assignment_by_module on assignment (module, holder);

-- The license a module needs; null: none.
create table module (
    module text primary key not null,
    license text
) strict, without rowid;

-- Seats: null: without a limit.
create table license (
    license text primary key not null,
    seats integer,
    valid_until integer
) strict, without rowid;
create index license_by_end on license (valid_until) where valid_until is not null;

-- Who is in line for a license: by the earliest assignment that needs it, with a seat or waiting.
create table place (
    license text not null,
    holder text not null,
    seq integer not null,
    at integer not null,
    seat integer,
    seat_at integer,
    primary key (license, holder)
) strict, without rowid;
create index place_by_holder on place (holder);
create unique index place_reserved on place (license, seat) where seat is not null;
create unique index place_waiting on place (license, seq) where seat is null;

-- The log: `event` is the entry as JSON, with its kind and what belongs to that.
create table event (
    seq integer primary key not null,
    at integer not null,
    actor text not null,
    event text not null
) strict;
