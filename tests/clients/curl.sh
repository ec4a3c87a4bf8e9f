#!/usr/bin/env bash
# curl against the examples; scripts/clients starts them and sets the environment.
set -euo pipefail

JSON="Content-Type: application/json"
failed=0
call() { curl --silent --show-error --max-time 10 --include "$@"; }

# check FACT PATTERNS ARGUMENT...: the answer's lines must match each of the PATTERNS, one a line.
check() {
    local fact=$1 patterns=$2 answer pattern
    shift 2
    answer=$(call "$@" 2>&1 | tr --delete '\r') || answer="curl failed: $answer"
    while IFS= read -r pattern; do
        if ! grep --quiet --extended-regexp -- "$pattern" <<<"$answer"; then
            printf 'not ok: curl: %s: no line matches %s in\n%s\n' "$fact" "$pattern" "$answer"
            failed=1
            return
        fi
    done <<<"$patterns"
    echo "ok: curl: $fact"
}

# What the examples print is pasted as it is.
pasted() {
    local example=$1 count
    count=$(grep --count '^curl' "$WORK/$example.log")
    if (
        set -e
        curl() { command curl --fail --silent --show-error --max-time 10 --output /dev/null "$@"; }
        # shellcheck disable=SC1090
        source <(sed --quiet '/^curl/,/[^\\]$/p' "$WORK/$example.log")
    ); then
        echo "ok: curl: the $count lines that $example prints are granted"
    else
        echo "not ok: curl: one of the $count lines that $example prints is refused"
        failed=1
    fi
}
for example in hub axum hyper custom_store; do pasted "$example"; done

check "the seed's header line is granted" \
    '^HTTP/1.1 200 
^content-type: application/json$
^vary: x-api-key, authorization$
^cache-control: private$
"id":"engine-1"' \
    -X GET "$HUB/api/rest/v1/engines" -H "X-API-Key: $LAUNCHER" -H "$JSON"

check "the seed's query line is granted" \
    '^HTTP/1.1 200 
"id":"engine-1"' \
    -X GET "$HUB/api/rest/v1/engines?api_key=$LAUNCHER" -H "$JSON"

check "the seed's bearer line is granted" \
    '^HTTP/1.1 200 
"id":"realm-1"' \
    "$HUB/v1/realms" -H "Authorization: Bearer $REALMS"

check "no key is 401 with two challenges" \
    '^HTTP/1.1 401 
^www-authenticate: Bearer realm="hub"$
^www-authenticate: ApiKey realm="hub", header="X-API-Key"$
^cache-control: no-store$
^content-type: application/problem\+json$
"detail":"API Key is missing or invalid\.","code":"missing_credential"' \
    -X GET "$HUB/api/rest/v1/engines" -H "$JSON"

check "the seed's placeholder is 401, an invalid token" \
    '^HTTP/1.1 401 
^www-authenticate: Bearer realm="hub", error="invalid_token"$
"detail":"API Key is missing or invalid\.","code":"invalid_key"' \
    -X GET "$HUB/api/rest/v1/engines" -H "X-API-Key: your-api-key-here" -H "$JSON"

check "a key without the module is 403" \
    '^HTTP/1.1 403 
^content-type: application/problem\+json$
"detail":"API Key does not have access to required module resource","code":"module_access_missing"
"module":"launcher"' \
    -X GET "$HUB/api/rest/v1/engines" -H "X-API-Key: $LINO"

check "a missing scope is 403 and named" \
    '^HTTP/1.1 403 
^www-authenticate: Bearer realm="hub", error="insufficient_scope", scope="write:realms"$
"code":"insufficient_scope"' \
    -X POST "$HUB/v1/realms" -H "Authorization: bearer $LINO" -H "$JSON" -d '{"name":"x"}'

check "two credentials are 400" \
    '^HTTP/1.1 400 
"code":"multiple_credentials"' \
    "$HUB/api/rest/v1/engines?api_key=$LAUNCHER" -H "X-API-Key: $LAUNCHER"

check "a path that is read in two ways is 400" \
    '^HTTP/1.1 400 
"code":"ambiguous_path"' \
    --path-as-is "$HUB/api/rest/v1/lino/../engines" -H "X-API-Key: $LAUNCHER"

check "a route that nobody mapped is 403" \
    '^HTTP/1.1 403 
"code":"route_not_mapped"' \
    -X POST "$HUB/api/rest/v1/engines" -H "X-API-Key: $LAUNCHER"

check "HEAD is GET without a body" \
    '^HTTP/1.1 200 ' \
    --head "$HUB/api/rest/v1/engines" -H "X-API-Key: $LAUNCHER"

check "anonymous callers list realms, 100 times an hour" \
    '^HTTP/1.1 200 
^ratelimit-policy: "hour";q=100;w=3600$
^ratelimit: "hour";r=[0-9]{1,2};t=3[0-9]{3}$' \
    "$HUB/v1/realms"
check "a key gets 1,000 requests an hour, and is told what is left" \
    '^HTTP/1.1 200 
^ratelimit-policy: "hour";q=1000;w=3600$
^ratelimit: "hour";r=9[0-9]{2};t=3[0-9]{3}$
^x-ratelimit-limit: 1000$
^x-ratelimit-remaining: 9[0-9]{2}$
^x-ratelimit-reset: 1[0-9]{9}$' \
    "$HUB/v1/realms" -H "Authorization: Bearer $REALMS"
check "a premium key gets 5,000" \
    '^HTTP/1.1 200 
^ratelimit-policy: "hour";q=5000;w=3600$' \
    "$HUB/v1/realms" -H "Authorization: Bearer $PREMIUM"
check "an invalid key is no anonymous caller" \
    '^HTTP/1.1 401 ' "$HUB/v1/realms" -H "Authorization: Bearer x"

# url EXAMPLE and key EXAMPLE: of the first line that it prints.
url() { grep --only-matching 'http://[0-9.:]*' "$WORK/$1.log" | head -n 1; }
key() { grep --only-matching --extended-regexp 'rk_live_[0-9A-Za-z]+' "$WORK/$1.log" | head -n 1; }

check "axum: a guard at a route refuses who lacks the scope" \
    '^HTTP/1.1 403 
"code":"insufficient_scope"' \
    -X POST "$(url axum)/studio/lights" -H "X-API-Key: $(key axum)"
check "axum: the fallback is not served" '^HTTP/1.1 401 ' "$(url axum)/elsewhere"
check "axum: a stranger is greeted" '^hello, stranger$' "$(url axum)/greeting"

check "hyper: HTTP/2 is granted" \
    '^HTTP/2 200 
^engines of stage left$' \
    --http2-prior-knowledge "$(url hyper)/engines" -H "X-API-Key: $(key hyper)"
check "hyper: HTTP/2 is refused" \
    '^HTTP/2 401 
"code":"missing_credential"' \
    --http2-prior-knowledge "$(url hyper)/engines"

# Somebody else writes the file; the store's word is good for a second.
sed --in-place 's/"enabled": true/"enabled": false/' "$WORK/keys.json"
for _ in $(seq 50); do
    call "$(url custom_store)/shows" -H "X-API-Key: $(key custom_store)" |
        grep --quiet '^HTTP/1.1 401' && break
    sleep 0.1
done
check "custom_store: a key disabled in the file is refused" \
    '^HTTP/1.1 401 
"code":"disabled_key"' \
    "$(url custom_store)/shows" -H "X-API-Key: $(key custom_store)"

exit "$failed"
