-- The license ledger. Instants are microseconds since 1970; `seq` is the number of the event that
-- made the row what it is. `{schema}` stands for the schema's name.

create table {schema}.tower_holder (
    tenant text collate "C" not null,
    holder text collate "C" not null,
    enabled boolean not null,
    active_until bigint,
    revoked boolean not null,
    primary key (tenant, holder)
);
create index tower_holder_by_end on {schema}.tower_holder (tenant, active_until)
    where active_until is not null and not revoked;

create table {schema}.tower_assignment (
    tenant text collate "C" not null,
    holder text collate "C" not null,
    module text collate "C" not null,
    seq bigint not null,
    at bigint not null,
    primary key (tenant, holder, module)
);
create index tower_assignment_by_module on {schema}.tower_assignment (tenant, module);

-- The license a module needs; null: none.
create table {schema}.tower_module (
    tenant text collate "C" not null,
    module text collate "C" not null,
    license text collate "C",
    primary key (tenant, module)
);

-- Seats: null: without a limit.
create table {schema}.tower_license (
    tenant text collate "C" not null,
    license text collate "C" not null,
    seats bigint,
    valid_until bigint,
    primary key (tenant, license)
);
create index tower_license_by_end on {schema}.tower_license (tenant, valid_until)
    where valid_until is not null;

-- Who is in line for a license: by the earliest assignment that needs it, with a seat or waiting.
create table {schema}.tower_place (
    tenant text collate "C" not null,
    license text collate "C" not null,
    holder text collate "C" not null,
    seq bigint not null,
    at bigint not null,
    seat bigint,
    seat_at bigint,
    primary key (tenant, license, holder)
);
create index tower_place_by_holder on {schema}.tower_place (tenant, holder);
create unique index tower_place_reserved on {schema}.tower_place (tenant, license, seat)
    where seat is not null;
create unique index tower_place_waiting on {schema}.tower_place (tenant, license, seq)
    where seat is null;

-- The log: `event` is the entry's kind with what belongs to it.
create table {schema}.tower_event (
    tenant text collate "C" not null,
    seq bigint not null,
    at bigint not null,
    actor text not null,
    event text not null,
    primary key (tenant, seq)
);

-- Writes what operations changed, if nobody else has written since the excerpt was read, and answers
-- whether that was so. Each statement sees what was committed before it began: the first one takes
-- the tenant's lock, so all that follow see the ledger as nobody else can change it.
create function {schema}.tower_write(whose text, expected bigint, delta jsonb, log jsonb)
returns boolean language plpgsql as $$
begin
    update {schema}.tower_tenant
    set clock = (delta ->> 'clock')::bigint,
        seq = (delta ->> 'seq')::bigint,
        limited_edition = (delta ->> 'limited_edition')::boolean,
        ops = ops + 1
    where tenant = whose and ops = expected;
    if not found then
        return false;
    end if;
    if delta -> 'holders_gone' <> '[]' then
        delete from {schema}.tower_holder
        where tenant = whose
        and holder in (select jsonb_array_elements_text(delta -> 'holders_gone'));
    end if;
    if delta -> 'assignments_gone' <> '[]' then
        delete from {schema}.tower_assignment
        where tenant = whose and (holder, module) in (
            select gone ->> 0, gone ->> 1 from jsonb_array_elements(delta -> 'assignments_gone') gone
        );
    end if;
    if delta -> 'places_gone' <> '[]' then
        delete from {schema}.tower_place
        where tenant = whose and (license, holder) in (
            select gone ->> 0, gone ->> 1 from jsonb_array_elements(delta -> 'places_gone') gone
        );
    end if;
    if delta -> 'licenses_gone' <> '[]' then
        delete from {schema}.tower_license
        where tenant = whose
        and license in (select jsonb_array_elements_text(delta -> 'licenses_gone'));
    end if;
    if delta -> 'holders' <> '[]' then
        insert into {schema}.tower_holder
        select whose, holder, enabled, active_until, revoked
        from jsonb_to_recordset(delta -> 'holders')
            as row (holder text, enabled boolean, active_until bigint, revoked boolean)
        on conflict (tenant, holder) do update set
            enabled = excluded.enabled,
            active_until = excluded.active_until,
            revoked = excluded.revoked;
    end if;
    if delta -> 'assignments' <> '[]' then
        insert into {schema}.tower_assignment
        select whose, holder, module, seq, at
        from jsonb_to_recordset(delta -> 'assignments')
            as row (holder text, module text, seq bigint, at bigint)
        on conflict (tenant, holder, module) do update set seq = excluded.seq, at = excluded.at;
    end if;
    if delta -> 'modules' <> '[]' then
        insert into {schema}.tower_module
        select whose, module, license
        from jsonb_to_recordset(delta -> 'modules') as row (module text, license text)
        on conflict (tenant, module) do update set license = excluded.license;
    end if;
    if delta -> 'licenses' <> '[]' then
        insert into {schema}.tower_license
        select whose, license, seats, valid_until
        from jsonb_to_recordset(delta -> 'licenses')
            as row (license text, seats bigint, valid_until bigint)
        on conflict (tenant, license) do update set
            seats = excluded.seats,
            valid_until = excluded.valid_until;
    end if;
    if delta -> 'places' <> '[]' then
        insert into {schema}.tower_place
        select whose, license, holder, seq, at, seat, seat_at
        from jsonb_to_recordset(delta -> 'places') as row (
            license text, holder text, seq bigint, at bigint, seat bigint, seat_at bigint
        )
        on conflict (tenant, license, holder) do update set
            seq = excluded.seq,
            at = excluded.at,
            seat = excluded.seat,
            seat_at = excluded.seat_at;
    end if;
    if log <> '[]' then
        insert into {schema}.tower_event
        select whose, seq, at, actor, event
        from jsonb_to_recordset(log) as row (seq bigint, at bigint, actor text, event text);
        perform pg_notify('{channel}', whose);
    end if;
    return true;
end
$$;
