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

-- How often keys were used: requests of one key that came to the same in one hour, which begins at
-- `hour`. Old rows are deleted.
CREATE TABLE tower_usage (
    tenant text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    hour bigint NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (tenant, key, hour, outcome)
);
CREATE INDEX tower_usage_by_hour ON tower_usage (tenant, hour);

-- The latest changes of keys, numbered without gaps in the order of their commits.
CREATE TABLE tower_key_change (
    tenant text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    key text COLLATE "C" NOT NULL,
    added boolean NOT NULL,
    PRIMARY KEY (tenant, seq)
);

-- Each change of a key, and of a ledger in all but one case, is one call of one of the functions below,
-- so one round trip: while a tenant's row is locked nobody waits for a network or a client, not even
-- for one that has just gone. In that case, where others came in between again and again or a whole
-- ledger is written, the client's transaction locks first, and ends when it is idle.

CREATE FUNCTION tower_lock(of_tenant text) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM FROM tower_tenant t WHERE t.tenant = of_tenant FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the tenant % is gone', of_tenant;
    END IF;
    PERFORM set_config('idle_in_transaction_session_timeout', '10s', true);
END $$;

-- Numbers a change, and notifies those who listen: `k17 tenant` where it is a tenant's 17th.
CREATE FUNCTION tower_key_changed(of_tenant text, of_key text, was_added boolean) RETURNS bigint
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    number bigint;
BEGIN
    UPDATE tower_tenant t SET key_seq = t.key_seq + 1 WHERE t.tenant = of_tenant
    RETURNING t.key_seq INTO number;
    INSERT INTO tower_key_change (tenant, seq, key, added)
    VALUES (of_tenant, number, of_key, was_added);
    -- Who is more than 4,096 changes behind reads none of them.
    IF number % 1024 = 0 THEN
        DELETE FROM tower_key_change c WHERE c.tenant = of_tenant AND c.seq <= number - 4096;
    END IF;
    PERFORM pg_notify(
        'tower_api_key_' || left(encode(sha256(convert_to(current_schema()::text, 'UTF8')), 'hex'), 32),
        'k' || number || ' ' || of_tenant
    );
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
        DELETE FROM tower_usage u WHERE u.tenant = of_tenant AND u.key = of_key;
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

-- The same for what keys were used. A key's row is locked before it is counted, so that it is not
-- deleted in between. Rows that others are about to count or to forget are forgotten the next time.
CREATE FUNCTION tower_key_count(
    of_tenant text, keys text[], hours bigint[], outcomes text[], counts bigint[], forget_before bigint
) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM FROM tower_key k WHERE k.tenant = of_tenant AND k.id = ANY (keys)
    ORDER BY k.id FOR KEY SHARE;
    INSERT INTO tower_usage AS u (tenant, key, hour, outcome, count)
    SELECT of_tenant, k.id, c.hour, c.outcome, least(sum(c.count), 9223372036854775807)
    FROM unnest(keys, hours, outcomes, counts) AS c (key, hour, outcome, count)
    JOIN tower_key k ON k.tenant = of_tenant AND k.id = c.key
    WHERE c.hour >= forget_before
    GROUP BY k.id, c.hour, c.outcome
    ORDER BY k.id, c.hour, c.outcome COLLATE "C"
    ON CONFLICT (tenant, key, hour, outcome)
    DO UPDATE SET count = u.count + least(excluded.count, 9223372036854775807 - u.count);
    DELETE FROM tower_usage u WHERE u.ctid = ANY (ARRAY(
        SELECT old.ctid FROM tower_usage old
        WHERE old.tenant = of_tenant AND old.hour < forget_before
        FOR UPDATE SKIP LOCKED
    ));
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
-- With the holder, so that for a single row it is as good as the other index.
CREATE INDEX tower_assignment_by_module ON tower_assignment (tenant, module, holder);

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
    PRIMARY KEY (tenant, holder, license)
);
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

-- Writes what operations changed, for several tenants at once: a list of `Write`, each tenant's at
-- most once. A write is done if nobody else has written to its ledger since the excerpt was read, or is
-- about to, and none of its strangers is a known holder; those are answered, with the server's time.
-- Only where it `has_more` than new and changed holders, assignments, places and events is the rest
-- looked for. Each statement sees what was committed before it began: the first one takes the tenants'
-- locks, so those that follow see the ledgers as nobody else can change them.
CREATE FUNCTION tower_write(asked jsonb, has_more boolean) RETURNS TABLE (written text, at bigint)
LANGUAGE plpgsql SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    locked text[];
    written_tenants text[];
    writes jsonb;
BEGIN
    locked := ARRAY(
        SELECT tenant FROM jsonb_to_recordset(asked) AS w (tenant text), LATERAL (
            SELECT FROM tower_tenant AS own WHERE own.tenant = w.tenant
            OFFSET 0 FOR NO KEY UPDATE SKIP LOCKED
        ) AS mine
    );
    WITH asked_for AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(asked) AS w (
            tenant text, expected bigint, strangers jsonb, clock bigint, seq bigint,
            limited_edition boolean, holders jsonb, assignments jsonb, places jsonb, log jsonb
        )
    ), done AS MATERIALIZED (
        UPDATE tower_tenant AS own
        SET clock = w.clock, seq = w.seq, limited_edition = w.limited_edition, ops = own.ops + 1
        FROM asked_for AS w
        WHERE own.tenant = w.tenant AND own.tenant = ANY (locked) AND own.ops = w.expected
            AND NOT EXISTS (
            SELECT FROM jsonb_array_elements_text(w.strangers) AS stranger, LATERAL (
                SELECT FROM tower_holder AS row
                WHERE row.tenant = w.tenant AND row.holder = stranger OFFSET 0
            ) AS known
        )
        RETURNING w.*
    ), of_holders AS (
        INSERT INTO tower_holder
        SELECT tenant, row.* FROM done, jsonb_to_recordset(holders) AS row (
            holder text, enabled boolean, active_until bigint, revoked boolean
        )
        ON CONFLICT (tenant, holder) DO UPDATE SET
            enabled = excluded.enabled,
            active_until = excluded.active_until,
            revoked = excluded.revoked
    ), of_assignments AS (
        INSERT INTO tower_assignment
        SELECT tenant, row.* FROM done, jsonb_to_recordset(assignments) AS row (
            holder text, module text, seq bigint, at bigint
        )
        ON CONFLICT (tenant, holder, module) DO UPDATE SET seq = excluded.seq, at = excluded.at
    ), of_places AS (
        INSERT INTO tower_place
        SELECT tenant, row.* FROM done, jsonb_to_recordset(places) AS row (
            license text, holder text, seq bigint, at bigint, seat bigint, seat_at bigint
        )
        ON CONFLICT (tenant, holder, license) DO UPDATE SET
            seq = excluded.seq,
            at = excluded.at,
            seat = excluded.seat,
            seat_at = excluded.seat_at
    ), of_events AS (
        INSERT INTO tower_event
        SELECT tenant, row.* FROM done, jsonb_to_recordset(log) AS row (
            seq bigint, at bigint, actor text, event text
        )
    )
    SELECT array_agg(tenant) INTO written_tenants FROM done;

    IF has_more THEN
        SELECT jsonb_agg(w) INTO writes FROM jsonb_array_elements(asked) AS w
        WHERE w ->> 'tenant' = ANY (written_tenants);
        DELETE FROM tower_holder WHERE ctid = ANY (ARRAY(
            SELECT found.ctid
            FROM jsonb_to_recordset(writes) AS w (tenant text, holders_gone jsonb),
                jsonb_array_elements_text(holders_gone) AS gone,
                LATERAL (
                    SELECT ctid FROM tower_holder AS row
                    WHERE row.tenant = w.tenant AND row.holder = gone OFFSET 0
                ) AS found
        ));
        DELETE FROM tower_assignment WHERE ctid = ANY (ARRAY(
            SELECT found.ctid
            FROM jsonb_to_recordset(writes) AS w (tenant text, assignments_gone jsonb),
                jsonb_array_elements(assignments_gone) AS gone,
                LATERAL (
                    SELECT ctid FROM tower_assignment AS row
                    WHERE row.tenant = w.tenant AND row.holder = gone ->> 0 AND row.module = gone ->> 1 OFFSET 0
                ) AS found
        ));
        DELETE FROM tower_place WHERE ctid = ANY (ARRAY(
            SELECT found.ctid
            FROM jsonb_to_recordset(writes) AS w (tenant text, places_gone jsonb),
                jsonb_array_elements(places_gone) AS gone,
                LATERAL (
                    SELECT ctid FROM tower_place AS row
                    WHERE row.tenant = w.tenant AND row.license = gone ->> 0 AND row.holder = gone ->> 1 OFFSET 0
                ) AS found
        ));
        DELETE FROM tower_license WHERE ctid = ANY (ARRAY(
            SELECT found.ctid
            FROM jsonb_to_recordset(writes) AS w (tenant text, licenses_gone jsonb),
                jsonb_array_elements_text(licenses_gone) AS gone,
                LATERAL (
                    SELECT ctid FROM tower_license AS row
                    WHERE row.tenant = w.tenant AND row.license = gone OFFSET 0
                ) AS found
        ));
        INSERT INTO tower_module
        SELECT tenant, row.* FROM jsonb_to_recordset(writes) AS w (tenant text, modules jsonb),
            jsonb_to_recordset(modules) AS row (module text, license text)
        ON CONFLICT (tenant, module) DO UPDATE SET license = excluded.license;
        INSERT INTO tower_license
        SELECT tenant, row.* FROM jsonb_to_recordset(writes) AS w (tenant text, licenses jsonb),
            jsonb_to_recordset(licenses) AS row (license text, seats bigint, valid_until bigint)
        ON CONFLICT (tenant, license) DO UPDATE SET
            seats = excluded.seats,
            valid_until = excluded.valid_until;
    END IF;
    RETURN QUERY
        SELECT tenant, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
        FROM unnest(written_tenants) AS tenant;
END $$;

-- Reads an excerpt of the ledger without its lock, as one JSON object: `Reach` (`asked`) says what,
-- `Excerpt` how; nothing where the tenant is gone. All of it is read as of one moment. Each statement
-- finds little, and by an index: the planner knows neither the parameters nor how many rows they mean,
-- so it is told which way to go. A subquery with `OFFSET 0` is not taken apart.
CREATE FUNCTION tower_excerpt(asked jsonb, whose text, newest_first boolean) RETURNS text
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
SET jit = off AS $$
DECLARE
    own tower_tenant;
    operations bigint := asked ->> 'operations';
    instant bigint;
    users_of text := asked ->> 'users_of';
    all_licenses boolean := asked ->> 'all_licenses';
    resized text := asked #>> '{resized,license}';
    resized_seats bigint := asked #>> '{resized,seats}';
    resized_end bigint := asked #>> '{resized,valid_until}';
    full_holders text[] := ARRAY(SELECT jsonb_array_elements_text(asked -> 'holders'));
    named text[] := ARRAY(SELECT jsonb_array_elements_text(asked -> 'modules'));
    given text[] := ARRAY(SELECT jsonb_array_elements_text(asked -> 'licenses'));
    needed text[] := given;
    linked text[];
    in_line text COLLATE "C";
    known tower_license;
    is_known boolean;
    taken bigint;
    is_emptied boolean;
    more_seats bigint;
    reserved bigint;
    waiting bigint;
    others text[] := '{}';
    assignment_rows json;
    module_rows json;
    license_rows jsonb := '[]';
    used_rows jsonb := '[]';
    place_rows jsonb := '[]';
    line_rows jsonb;
BEGIN
    SELECT * INTO own FROM tower_tenant t WHERE t.tenant = whose;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF operations > 0 THEN
        instant := coalesce(
            (asked ->> 'now')::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
        );
    END IF;

    IF instant > own.clock THEN
        full_holders := full_holders || ARRAY(
            SELECT h.holder FROM tower_holder h
            WHERE h.tenant = whose AND NOT h.revoked
                AND h.active_until > own.clock AND h.active_until <= instant
        );
        needed := needed || ARRAY(
            SELECT l.license FROM tower_license l
            WHERE l.tenant = whose AND l.valid_until > own.clock AND l.valid_until <= instant
        );
    END IF;
    IF users_of IS NOT NULL THEN
        named := named || users_of;
        full_holders := full_holders || ARRAY(
            SELECT a.holder FROM tower_assignment a WHERE a.tenant = whose AND a.module = users_of
        );
    END IF;
    IF all_licenses THEN
        needed := needed || ARRAY(SELECT l.license FROM tower_license l WHERE l.tenant = whose);
    END IF;
    full_holders := ARRAY(SELECT DISTINCT unnest(full_holders));

    SELECT coalesce(json_agg(a), '[]'), array_agg(a.module) INTO assignment_rows, linked FROM (
        SELECT row.* FROM unnest(full_holders) AS of_holder CROSS JOIN LATERAL (
            SELECT holder, module, seq, at FROM tower_assignment
            WHERE tenant = whose AND holder = of_holder OFFSET 0
        ) AS row
    ) AS a;
    named := named || linked;
    SELECT coalesce(json_agg(m), '[]'), array_agg(m.license) INTO module_rows, linked FROM (
        SELECT row.* FROM (SELECT DISTINCT unnest(named)) AS n (name) CROSS JOIN LATERAL (
            SELECT module, license FROM tower_module
            WHERE tenant = whose AND module = name OFFSET 0
        ) AS row
    ) AS m;
    needed := needed || linked;
    SELECT coalesce(jsonb_agg(p), '[]') INTO place_rows FROM (
        SELECT row.* FROM unnest(full_holders) AS of_holder CROSS JOIN LATERAL (
            SELECT license, holder, seq, at, seat, seat_at FROM tower_place
            WHERE tenant = whose AND holder = of_holder OFFSET 0
        ) AS row
    ) AS p;

    FOR in_line IN SELECT DISTINCT n FROM unnest(needed) AS n WHERE n IS NOT NULL LOOP
        SELECT * INTO known FROM tower_license l WHERE l.tenant = whose AND l.license = in_line;
        is_known := FOUND;
        IF is_known THEN
            license_rows := license_rows || jsonb_build_object(
                'license', in_line, 'seats', known.seats, 'valid_until', known.valid_until
            );
        END IF;
        SELECT count(*) INTO taken FROM tower_place p
        WHERE p.tenant = whose AND p.license = in_line AND p.seat IS NOT NULL;
        used_rows := used_rows || jsonb_build_array(jsonb_build_array(in_line, taken));
        CONTINUE WHEN operations = 0;

        is_emptied := coalesce(known.valid_until <= greatest(own.clock, instant), false)
            OR coalesce(in_line = resized AND resized_end <= greatest(own.clock, instant), false)
            OR (asked ->> 'emptied')::boolean AND (all_licenses OR in_line = ANY (given));
        reserved := CASE
            WHEN is_emptied THEN taken
            -- Some of the oldest may be full holders', whose seats go to others before.
            WHEN in_line = resized AND taken > resized_seats
                THEN taken - resized_seats + cardinality(full_holders)
            ELSE 0
        END;
        more_seats := CASE
            WHEN in_line = resized THEN resized_seats
            WHEN all_licenses AND is_known THEN known.seats
            ELSE 0
        END - CASE WHEN is_emptied THEN 0 ELSE taken END;
        waiting := operations + 2 * cardinality(full_holders)
            + greatest(coalesce(more_seats, 1000000000000), 0);
        WITH line AS MATERIALIZED (
            (SELECT license, holder, seq, at, seat, seat_at FROM tower_place
             WHERE NOT newest_first AND tenant = whose AND license = in_line AND seat IS NOT NULL
             ORDER BY seat LIMIT reserved)
            UNION ALL
            (SELECT license, holder, seq, at, seat, seat_at FROM tower_place
             WHERE newest_first AND tenant = whose AND license = in_line AND seat IS NOT NULL
             ORDER BY seat DESC LIMIT reserved)
            UNION ALL
            (SELECT license, holder, seq, at, seat, seat_at FROM tower_place
             WHERE tenant = whose AND license = in_line AND seat IS NULL
             ORDER BY seq LIMIT waiting)
        )
        SELECT jsonb_agg(line), array_agg(line.holder) INTO line_rows, linked FROM line;
        IF linked IS NOT NULL THEN
            place_rows := place_rows || line_rows;
            others := others || linked;
        END IF;
    END LOOP;

    RETURN json_build_object(
        'now', instant,
        'clock', own.clock,
        'seq', own.seq,
        'limited_edition', own.limited_edition,
        'ops', own.ops,
        'next_end', (
            SELECT min(ending) FROM (
                (SELECT active_until AS ending FROM tower_holder
                 WHERE operations > 0 AND tenant = whose AND NOT revoked
                     AND active_until > greatest(own.clock, instant)
                 ORDER BY active_until LIMIT 1)
                UNION ALL
                (SELECT valid_until AS ending FROM tower_license
                 WHERE operations > 0 AND tenant = whose
                     AND valid_until > greatest(own.clock, instant)
                 ORDER BY valid_until LIMIT 1)
            ) AS ends
        ),
        'holders', (
            SELECT coalesce(json_agg(h), '[]') FROM (
                SELECT row.* FROM unnest(full_holders) AS of_holder CROSS JOIN LATERAL (
                    SELECT holder, enabled, active_until, revoked FROM tower_holder
                    WHERE tenant = whose AND holder = of_holder OFFSET 0
                ) AS row
            ) AS h
        ),
        'others', (
            SELECT coalesce(json_agg(h), '[]') FROM (
                SELECT row.* FROM (SELECT DISTINCT unnest(others)) AS n (of_holder) CROSS JOIN LATERAL (
                    SELECT holder, enabled, active_until, revoked FROM tower_holder
                    WHERE tenant = whose AND holder = of_holder OFFSET 0
                ) AS row
            ) AS h
        ),
        'assignments', assignment_rows,
        'modules', module_rows,
        'licenses', license_rows,
        'used', used_rows,
        'places', place_rows
    )::text;
END $$;
