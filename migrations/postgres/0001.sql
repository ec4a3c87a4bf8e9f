-- Instants are microseconds since 1970, lists are JSON, digests are 32 bytes. Runs with the search path at the schema that is to hold it; the functions keep that
-- path. Names and ids are compared byte by byte, whatever the language of the database.

CREATE TABLE tower_schema (
    version bigint NOT NULL
);

-- One row for each tenant. Whatever changes anything of a tenant's, the instants of last use aside,
-- locks its row first, in a statement of its own: under READ COMMITTED the next statement then sees
-- all that was committed before it. `ops` grows with every change of the ledger, `seq` numbers its
-- events, `key_seq` the changes of keys.
CREATE TABLE tower_tenant (
    tenant text COLLATE "C" PRIMARY KEY,
    -- The notifications of this tenant's changes.
    channel text COLLATE "C" NOT NULL,
    -- Starts at the first instant there is.
    clock bigint NOT NULL DEFAULT -377705023201000000,
    seq bigint NOT NULL DEFAULT 0,
    limited_edition boolean NOT NULL DEFAULT false,
    ops bigint NOT NULL DEFAULT 0,
    key_seq bigint NOT NULL DEFAULT 0
    -- Changed all the time: room for new versions of a row beside it, however many tenants there are.
) WITH (fillfactor = 30);

CREATE TABLE tower_key (
    tenant text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    digest bytea NOT NULL,
    previous_digest bytea,
    previous_until bigint,
    hint text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    environment text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    last_used_at bigint,
    expires_at bigint,
    revoked_at bigint,
    enabled boolean NOT NULL,
    administrator boolean NOT NULL,
    scopes text COLLATE "C" NOT NULL,
    tier text COLLATE "C",
    owner text COLLATE "C",
    allowed_addresses text COLLATE "C" NOT NULL,
    modules text COLLATE "C" NOT NULL,
    revision bigint NOT NULL,
    PRIMARY KEY (tenant, id)
);

-- The digests of all keys, current and previous alike: none is there twice.
CREATE TABLE tower_key_digest (
    tenant text COLLATE "C" NOT NULL,
    digest bytea NOT NULL,
    key text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, digest)
);

-- The latest changes of keys, numbered without gaps in the order of their commits.
CREATE TABLE tower_key_change (
    tenant text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    key text COLLATE "C" NOT NULL,
    added boolean NOT NULL,
    PRIMARY KEY (tenant, seq)
);

-- Each change is one call of one of the functions below, so one round trip: while a tenant's row is
-- locked nobody waits for a network or a client, not even for one that has just gone.

CREATE FUNCTION tower_lock(of_tenant text) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM FROM tower_tenant t WHERE t.tenant = of_tenant FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the tenant % is gone', of_tenant;
    END IF;
END $$;

-- Numbers a change and tells who listens.
CREATE FUNCTION tower_key_changed(of_tenant text, of_key text, was_added boolean) RETURNS bigint
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    number bigint;
    notified text;
BEGIN
    UPDATE tower_tenant t SET key_seq = t.key_seq + 1 WHERE t.tenant = of_tenant
    RETURNING t.key_seq, t.channel INTO number, notified;
    INSERT INTO tower_key_change (tenant, seq, key, added)
    VALUES (of_tenant, number, of_key, was_added);
    -- Who is more than 4,096 changes behind reads none of them.
    IF number % 1024 = 0 THEN
        DELETE FROM tower_key_change c WHERE c.tenant = of_tenant AND c.seq <= number - 4096;
    END IF;
    PERFORM pg_notify(notified, '');
    RETURN number;
END $$;

CREATE FUNCTION tower_key_digest_taken(given tower_key) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM tower_key_digest d
        WHERE d.tenant = given.tenant AND d.digest IN (given.digest, given.previous_digest)
            AND d.key <> given.id
    );
END $$;

CREATE FUNCTION tower_key_digest_add(given tower_key) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO tower_key_digest (tenant, digest, key)
    SELECT DISTINCT given.tenant, d.digest, given.id
    FROM unnest(ARRAY[given.digest, given.previous_digest]) AS d(digest)
    WHERE d.digest IS NOT NULL;
END $$;

CREATE FUNCTION tower_key_digest_remove(stored tower_key) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM tower_key_digest d
    WHERE d.tenant = stored.tenant AND d.digest IN (stored.digest, stored.previous_digest);
END $$;

CREATE FUNCTION tower_key_insert(given tower_key, OUT outcome text, OUT number bigint)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM tower_lock(given.tenant);
    IF EXISTS (SELECT FROM tower_key k WHERE k.tenant = given.tenant AND k.id = given.id) THEN
        outcome := 'duplicate id';
    ELSIF tower_key_digest_taken(given) THEN
        outcome := 'duplicate digest';
    ELSE
        INSERT INTO tower_key SELECT given.*;
        PERFORM tower_key_digest_add(given);
        outcome := 'done';
        number := tower_key_changed(given.tenant, given.id, true);
    END IF;
END $$;

CREATE FUNCTION tower_key_update(
    given tower_key, OUT outcome text, OUT number bigint, OUT added boolean, OUT used_at bigint
)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    stored tower_key;
BEGIN
    PERFORM tower_lock(given.tenant);
    SELECT * INTO stored FROM tower_key k WHERE k.tenant = given.tenant AND k.id = given.id;
    IF NOT FOUND THEN
        outcome := 'not found';
    ELSIF stored.revision <> given.revision THEN
        outcome := 'conflict';
    ELSIF tower_key_digest_taken(given) THEN
        outcome := 'duplicate digest';
    ELSE
        UPDATE tower_key k SET
            digest = given.digest,
            previous_digest = given.previous_digest,
            previous_until = given.previous_until,
            hint = given.hint,
            name = given.name,
            environment = given.environment,
            created_at = given.created_at,
            expires_at = given.expires_at,
            revoked_at = given.revoked_at,
            enabled = given.enabled,
            administrator = given.administrator,
            scopes = given.scopes,
            tier = given.tier,
            owner = given.owner,
            allowed_addresses = given.allowed_addresses,
            modules = given.modules,
            revision = k.revision + 1
        WHERE k.tenant = given.tenant AND k.id = given.id
        RETURNING k.last_used_at INTO used_at;
        added := given.digest NOT IN (stored.digest, coalesce(stored.previous_digest, stored.digest))
            OR coalesce(given.previous_digest, given.digest)
                NOT IN (stored.digest, coalesce(stored.previous_digest, stored.digest));
        IF (given.digest, given.previous_digest)
            IS DISTINCT FROM (stored.digest, stored.previous_digest) THEN
            PERFORM tower_key_digest_remove(stored);
            PERFORM tower_key_digest_add(given);
        END IF;
        outcome := 'done';
        number := tower_key_changed(given.tenant, given.id, added);
    END IF;
END $$;

-- The number of the change; nothing where the key was not there.
CREATE FUNCTION tower_key_delete(of_tenant text, of_key text, OUT number bigint)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    stored tower_key;
BEGIN
    PERFORM tower_lock(of_tenant);
    DELETE FROM tower_key k WHERE k.tenant = of_tenant AND k.id = of_key RETURNING * INTO stored;
    IF FOUND THEN
        PERFORM tower_key_digest_remove(stored);
        number := tower_key_changed(of_tenant, of_key, false);
    END IF;
END $$;

-- Leaves the tenant's row alone, since nothing is judged by these instants. All that write several
-- keys' lock them in one order, so that none waits for another in a circle.
CREATE FUNCTION tower_key_used(of_tenant text, keys text[], instants bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM FROM tower_key k WHERE k.tenant = of_tenant AND k.id = ANY (keys)
    ORDER BY k.id FOR NO KEY UPDATE;
    UPDATE tower_key k SET last_used_at = latest.instant
    FROM (
        SELECT u.id, max(u.instant) AS instant
        FROM unnest(keys, instants) AS u(id, instant) GROUP BY u.id
    ) AS latest
    WHERE k.tenant = of_tenant AND k.id = latest.id
        AND (k.last_used_at IS NULL OR k.last_used_at < latest.instant);
END $$;

-- The license ledger. Instants are microseconds since 1970; `seq` is the number of the event that
-- made the row what it is.
CREATE TABLE tower_holder (
    tenant text COLLATE "C" NOT NULL,
    holder text COLLATE "C" NOT NULL,
    enabled boolean NOT NULL,
    active_until bigint,
    revoked boolean NOT NULL,
    PRIMARY KEY (tenant, holder)
);
CREATE INDEX tower_holder_by_end ON tower_holder (tenant, active_until)
    WHERE active_until IS NOT NULL AND NOT revoked;

CREATE TABLE tower_assignment (
    tenant text COLLATE "C" NOT NULL,
    holder text COLLATE "C" NOT NULL,
    module text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    at bigint NOT NULL,
    PRIMARY KEY (tenant, holder, module)
);
CREATE INDEX tower_assignment_by_module ON tower_assignment (tenant, module);

-- The license a module needs; null: none.
CREATE TABLE tower_module (
    tenant text COLLATE "C" NOT NULL,
    module text COLLATE "C" NOT NULL,
    license text COLLATE "C",
    PRIMARY KEY (tenant, module)
);

-- Seats: null: without a limit.
CREATE TABLE tower_license (
    tenant text COLLATE "C" NOT NULL,
    license text COLLATE "C" NOT NULL,
    seats bigint,
    valid_until bigint,
    PRIMARY KEY (tenant, license)
);
CREATE INDEX tower_license_by_end ON tower_license (tenant, valid_until)
    WHERE valid_until IS NOT NULL;

-- Who is in line for a license: by the earliest assignment that needs it, with a seat or waiting.
CREATE TABLE tower_place (
    tenant text COLLATE "C" NOT NULL,
    license text COLLATE "C" NOT NULL,
    holder text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    at bigint NOT NULL,
    seat bigint,
    seat_at bigint,
    PRIMARY KEY (tenant, license, holder)
);
CREATE INDEX tower_place_by_holder ON tower_place (tenant, holder);
CREATE UNIQUE INDEX tower_place_reserved ON tower_place (tenant, license, seat)
    WHERE seat IS NOT NULL;
CREATE UNIQUE INDEX tower_place_waiting ON tower_place (tenant, license, seq)
    WHERE seat IS NULL;

-- The log: `event` is the entry's kind with what belongs to it.
CREATE TABLE tower_event (
    tenant text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    at bigint NOT NULL,
    actor text NOT NULL,
    event text NOT NULL,
    PRIMARY KEY (tenant, seq)
);

-- Writes what operations changed, if nobody else has written since the excerpt was read, and answers
-- whether that was so. Each statement sees what was committed before it began: the first one takes
-- the tenant's lock, so all that follow see the ledger as nobody else can change it.
CREATE FUNCTION tower_write(whose text, expected bigint, delta jsonb, log jsonb)
RETURNS boolean LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    notified text;
BEGIN
    UPDATE tower_tenant
    SET clock = (delta ->> 'clock')::bigint,
        seq = (delta ->> 'seq')::bigint,
        limited_edition = (delta ->> 'limited_edition')::boolean,
        ops = ops + 1
    WHERE tenant = whose AND ops = expected
    RETURNING channel INTO notified;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF delta -> 'holders_gone' <> '[]' THEN
        DELETE FROM tower_holder
        WHERE tenant = whose
        AND holder IN (SELECT jsonb_array_elements_text(delta -> 'holders_gone'));
    END IF;
    IF delta -> 'assignments_gone' <> '[]' THEN
        DELETE FROM tower_assignment
        WHERE tenant = whose AND (holder, module) IN (
            SELECT gone ->> 0, gone ->> 1 FROM jsonb_array_elements(delta -> 'assignments_gone') gone
        );
    END IF;
    IF delta -> 'places_gone' <> '[]' THEN
        DELETE FROM tower_place
        WHERE tenant = whose AND (license, holder) IN (
            SELECT gone ->> 0, gone ->> 1 FROM jsonb_array_elements(delta -> 'places_gone') gone
        );
    END IF;
    IF delta -> 'licenses_gone' <> '[]' THEN
        DELETE FROM tower_license
        WHERE tenant = whose
        AND license IN (SELECT jsonb_array_elements_text(delta -> 'licenses_gone'));
    END IF;
    IF delta -> 'holders' <> '[]' THEN
        INSERT INTO tower_holder
        SELECT whose, holder, enabled, active_until, revoked
        FROM jsonb_to_recordset(delta -> 'holders')
            AS row (holder text, enabled boolean, active_until bigint, revoked boolean)
        ON CONFLICT (tenant, holder) DO UPDATE SET
            enabled = excluded.enabled,
            active_until = excluded.active_until,
            revoked = excluded.revoked;
    END IF;
    IF delta -> 'assignments' <> '[]' THEN
        INSERT INTO tower_assignment
        SELECT whose, holder, module, seq, at
        FROM jsonb_to_recordset(delta -> 'assignments')
            AS row (holder text, module text, seq bigint, at bigint)
        ON CONFLICT (tenant, holder, module) DO UPDATE SET seq = excluded.seq, at = excluded.at;
    END IF;
    IF delta -> 'modules' <> '[]' THEN
        INSERT INTO tower_module
        SELECT whose, module, license
        FROM jsonb_to_recordset(delta -> 'modules') AS row (module text, license text)
        ON CONFLICT (tenant, module) DO UPDATE SET license = excluded.license;
    END IF;
    IF delta -> 'licenses' <> '[]' THEN
        INSERT INTO tower_license
        SELECT whose, license, seats, valid_until
        FROM jsonb_to_recordset(delta -> 'licenses')
            AS row (license text, seats bigint, valid_until bigint)
        ON CONFLICT (tenant, license) DO UPDATE SET
            seats = excluded.seats,
            valid_until = excluded.valid_until;
    END IF;
    IF delta -> 'places' <> '[]' THEN
        INSERT INTO tower_place
        SELECT whose, license, holder, seq, at, seat, seat_at
        FROM jsonb_to_recordset(delta -> 'places') AS row (
            license text, holder text, seq bigint, at bigint, seat bigint, seat_at bigint
        )
        ON CONFLICT (tenant, license, holder) DO UPDATE SET
            seq = excluded.seq,
            at = excluded.at,
            seat = excluded.seat,
            seat_at = excluded.seat_at;
    END IF;
    IF log <> '[]' THEN
        INSERT INTO tower_event
        SELECT whose, seq, at, actor, event
        FROM jsonb_to_recordset(log) AS row (seq bigint, at bigint, actor text, event text);
        PERFORM pg_notify(notified, '');
    END IF;
    RETURN true;
END
$$;

-- Reads an excerpt of the ledger without its lock, as one JSON object: `Reach` (`asked`) says what,
-- `Excerpt` how. What it reads is little, and found by indexes: the planner, who knows neither the
-- parameters nor how many rows they mean, would rather read whole tables, and compile that.
CREATE FUNCTION tower_excerpt(asked jsonb, whose text, newest_first boolean) RETURNS text
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    answer text;
BEGIN
    with
        own as materialized (
            select clock, seq, limited_edition, ops from tower_tenant where tenant = whose
        ),
        instant as materialized (
            select case when (asked ->> 'operations')::bigint > 0 then coalesce(
                (asked ->> 'now')::bigint,
                (extract(epoch from clock_timestamp()) * 1000000)::bigint
            ) end as now
        ),
        reach as materialized (
            select
                now,
                greatest(clock, now) as latest,
                (asked ->> 'operations')::bigint as operations,
                asked ->> 'users_of' as users_of,
                (asked ->> 'all_licenses')::boolean as all_licenses,
                (asked ->> 'emptied')::boolean as emptied,
                asked #>> '{resized,license}' as resized,
                (asked #>> '{resized,seats}')::bigint as resized_seats,
                (asked #>> '{resized,valid_until}')::bigint as resized_end
            from own, instant
        ),
        everyone as materialized (
            select jsonb_array_elements_text(asked -> 'holders') collate "C" as holder
            union
            select holder from tower_holder
            where tenant = whose and not revoked
                and active_until > (select clock from own)
                and active_until <= (select now from reach)
            union
            select holder from tower_assignment
            where tenant = whose and module = (select users_of from reach)
        ),
        assigned as materialized (
            select holder, module, known.seq, at
            from everyone join tower_assignment as known using (holder)
            where tenant = whose
        ),
        named as (
            select jsonb_array_elements_text(asked -> 'modules') collate "C" as module
            union
            select users_of from reach where users_of is not null
            union
            select module from assigned
        ),
        mapped as materialized (
            select module, license from named join tower_module using (module)
            where tenant = whose
        ),
        needed as (
            select jsonb_array_elements_text(asked -> 'licenses') collate "C" as license
            union
            select license from mapped where license is not null
            union
            select license from tower_license
            where tenant = whose
                and valid_until > (select clock from own)
                and valid_until <= (select now from reach)
            union
            select license from tower_license, reach where tenant = whose and all_licenses
        ),
        counted as materialized (
            select
                needed.license,
                known.license is not null as is_known,
                known.seats,
                known.valid_until,
                (
                    select count(*) from tower_place as place
                    where place.tenant = whose and place.license = needed.license and seat is not null
                ) as used
            from needed left join tower_license as known on known.tenant = whose
                and known.license = needed.license
        ),
        judged as (
            select
                counted.*,
                operations,
                resized_seats,
                counted.license = resized as is_resized,
                is_known and all_licenses as is_refilled,
                coalesce(valid_until <= latest, false)
                    or coalesce(counted.license = resized and resized_end <= latest, false)
                    or emptied and (all_licenses or asked -> 'licenses' ? counted.license) as is_emptied
            from counted, reach
            where operations > 0
        ),
        moves as materialized (
            select
                license,
                case
                    when is_emptied then used
                    when is_resized and used > resized_seats
                        then used - resized_seats + (select count(*) from everyone)
                    else 0
                end as reserved,
                operations + 2 * (select count(*) from everyone) + case
                    when is_resized and resized_seats is null then 1000000000000
                    when is_resized
                        then greatest(resized_seats - case when is_emptied then 0 else used end, 0)
                    when is_refilled and seats is null then 1000000000000
                    when is_refilled then greatest(seats - case when is_emptied then 0 else used end, 0)
                    else 0
                end as waiting
            from judged
        ),
        places as materialized (
            select license, holder, place.seq, at, seat, seat_at
            from everyone join tower_place as place using (holder)
            where tenant = whose
            union
            select line.license, holder, line.seq, at, seat, seat_at from moves, lateral (
                select * from tower_place as place
                where not newest_first and place.tenant = whose and place.license = moves.license
                and seat is not null
                order by seat limit moves.reserved
            ) as line
            union
            select line.license, holder, line.seq, at, seat, seat_at from moves, lateral (
                select * from tower_place as place
                where newest_first and place.tenant = whose and place.license = moves.license
                and seat is not null
                order by seat desc limit moves.reserved
            ) as line
            union
            select line.license, holder, line.seq, at, seat, seat_at from moves, lateral (
                select * from tower_place as place
                where place.tenant = whose and place.license = moves.license and seat is null
                order by place.seq limit moves.waiting
            ) as line
        )
    select json_build_object(
        'now', (select now from instant),
        'clock', clock,
        'seq', seq,
        'limited_edition', limited_edition,
        'ops', ops,
        'holders', (
            select coalesce(json_agg(json_build_object(
                'holder', holder, 'enabled', enabled,
                'active_until', active_until, 'revoked', revoked
            )), '[]') from everyone join tower_holder using (holder) where tenant = whose
        ),
        'others', (
            select coalesce(json_agg(json_build_object(
                'holder', holder, 'enabled', enabled,
                'active_until', active_until, 'revoked', revoked
            )), '[]')
            from (select holder from places except select holder from everyone) as other
            join tower_holder using (holder)
            where tenant = whose
        ),
        'assignments', (
            select coalesce(json_agg(json_build_object(
                'holder', holder, 'module', module, 'seq', seq, 'at', at
            )), '[]') from assigned
        ),
        'modules', (
            select coalesce(json_agg(json_build_object('module', module, 'license', license)), '[]')
            from mapped
        ),
        'licenses', (
            select coalesce(json_agg(json_build_object(
                'license', license, 'seats', seats, 'valid_until', valid_until
            )), '[]') from counted where is_known
        ),
        'used', (
            select coalesce(json_agg(json_build_array(license, used)), '[]') from counted
        ),
        'places', (
            select coalesce(json_agg(json_build_object(
                'license', license, 'holder', holder, 'seq', seq, 'at', at,
                'seat', seat, 'seat_at', seat_at
            )), '[]') from places
        )
    )::text
    into answer
    from own;
    RETURN answer;
END $$;
