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
