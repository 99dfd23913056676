# Sourced by ./ldr-fs, ./test and .ci/run from the repository's root: checks the SDK, restores tools and packages, and
# builds a project when a source is newer than its last build. Everything it says goes to stderr.

export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 DOTNET_CLI_USE_MSBUILD_SERVER=0
# No process of a build outlives it: neither MSBuild's nodes nor the compiler server.
export MSBUILDDISABLENODEREUSE=1 UseSharedCompilation=false

# Which native parts of torch are built in: as in Directory.Build.targets, only `true` means CUDA.
mode=cpu
if [ "${LDR_CUDA:-}" = true ]; then mode=cuda; fi

say() { printf '%s\n' "$*" >&2; }

# Every so many seconds a long step says that it goes on.
tick_every=20

# Says how long a step takes, and which projects are built, until it is stopped or its shell is gone.
tick() {
    local log=$1 started=$SECONDS built
    # The pause holds no stream that somebody waits for.
    while sleep "$tick_every" </dev/null >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
        built=$(awk '/ -> / { printf "%s%s", (n++ ? ", " : ""), $1 }' "$log" 2>/dev/null)
        say "  ... $((SECONDS - started)) s${built:+, built so far: $built}"
    done
}

# Runs a command, with a line now and then; shows what it printed, and stops, when it fails.
quietly() {
    local log ticker failed=0
    log=$(mktemp)
    tick "$log" &
    ticker=$!
    "$@" >"$log" 2>&1 || failed=1
    # A shell that stops at errors, as that of .ci/run, must not stop at the ticker's end.
    { kill "$ticker" && wait "$ticker"; } 2>/dev/null || true
    if [ "$failed" = 1 ]; then
        cat "$log" >&2
        rm -f "$log"
        say "ldr-fs: the step '$*' failed; its output is above"
        exit 70
    fi
    rm -f "$log"
}

check_sdk() {
    if ! command -v dotnet >/dev/null 2>&1; then
        say 'ldr-fs: the .NET SDK is missing; install .NET SDK 10 (https://dotnet.microsoft.com/download) and run this again'
        exit 1
    fi
    if ! (cd "$root" && dotnet --version >/dev/null 2>&1); then
        say "ldr-fs: no .NET SDK 10 among: $(dotnet --list-sdks | cut -d' ' -f1 | tr '\n' ' '); install .NET SDK 10 (https://dotnet.microsoft.com/download)"
        exit 1
    fi
}

# The package feed that this machine is configured for: the first one that is enabled.
find_feed() {
    if [ -z "${NUGET_FEED:-}" ]; then
        NUGET_FEED=$(dotnet nuget list source --format short | awk '/^E/ { print $2; exit }')
        export NUGET_FEED
    fi
    if [ -z "$NUGET_FEED" ]; then
        say 'ldr-fs: no NuGet feed is enabled; add one with: dotnet nuget add source ADDRESS'
        exit 1
    fi
}

restore_packages() {
    local lock="$root/paket.lock" packages
    packages=${NUGET_PACKAGES:-$HOME/.nuget/packages}
    if [ ! -e "$lock" ] || [ ! -e "$root/.paket/Paket.Restore.targets" ] || [ "$root/paket.dependencies" -nt "$lock" ]; then
        say 'Setting up: tools and packages, once; a few minutes ...'
        quietly dotnet tool restore
        quietly dotnet paket install
        touch "$lock"
    elif [ "$(cat "$root/.build/packages" 2>/dev/null)" != "$packages" ]; then
        say 'Setting up: tools and packages ...'
        quietly dotnet tool restore
        quietly dotnet paket restore
    fi
    mkdir -p "$root/.build"
    printf '%s\n' "$packages" >"$root/.build/packages"
}

# Whether the last build of a project is newer than every source, and of this mode. All modes share one output folder.
# Ldr.sln has every project in it: what ./test has built, ./ldr-fs does not build again.
is_built() { is_fresh "$1" || is_fresh "$root/.build/Ldr.sln"; }

is_fresh() {
    local stamp=$1
    [ "$(cat "$stamp" 2>/dev/null)" = "$mode" ] &&
        [ "$(cat "$root/.build/packages" 2>/dev/null)" = "${NUGET_PACKAGES:-$HOME/.nuget/packages}" ] &&
        [ -z "$(find "$root"/src "$root"/build "$root"/tests "$root"/examples "$root"/*.props "$root"/*.targets "$root"/*.json \
            "$root"/paket.dependencies \( -name bin -o -name obj -o -path "$root/src/Ldr.App/page" \) -prune -o -type f -newer "$stamp" -print -quit)" ]
}

# build PROJECT: one build at a time, and none when nothing changed.
build() {
    local project=$1 stamp
    stamp="$root/.build/$(basename "$project")"
    if is_built "$stamp"; then return; fi
    mkdir -p "$root/.build"
    exec 9>"$root/.build/lock"
    if command -v flock >/dev/null 2>&1 && ! flock -n 9; then
        say 'ldr-fs: waiting for another build ...'
        flock 9
    fi
    # What is started here does not inherit the lock, so that nothing can keep it when this shell is gone.
    { is_built "$stamp" || compile "$project" "$stamp"; } 9>&-
    exec 9>&-
}

compile() {
    local project=$1 stamp=$2 started
    check_sdk
    cd "$root" || exit 70
    find_feed
    restore_packages
    if [ -d "$root/src/Ldr.Cli/bin/Release" ]; then
        say "Building $(basename "$project") ..."
    else
        say "Building $(basename "$project"), the first time: it downloads libtorch (200 MB), and takes 1 to 5 minutes ..."
    fi
    started=$(mktemp)
    quietly dotnet build "$root/$project" -c Release --nologo
    # The stamp has the time of the build's start: what changed meanwhile is built the next time.
    printf '%s\n' "$mode" >"$stamp.new"
    touch -r "$started" "$stamp.new"
    mv "$stamp.new" "$stamp"
    rm -f "$started"
    cd - >/dev/null || exit 70
}

# The page of `ldr-fs app`, built where npm is there and a source is newer than the last build. Without it the API works.
build_page() {
    local page="$root/src/Ldr.App/page" stamp="$root/.build/page" log
    if [ -e "$page/dist/index.html" ] && [ -e "$stamp" ] &&
        [ -z "$(find "$page" \( -name node_modules -o -name dist \) -prune -o -type f -newer "$stamp" -print -quit)" ]; then
        return
    fi
    if ! command -v npm >/dev/null 2>&1; then
        say 'ldr-fs: npm is missing, so the page is not built; install Node.js 20 or newer and run this again'
        return
    fi
    say 'Building the page ...'
    mkdir -p "$root/.build"
    log=$(mktemp)
    touch "$stamp.new"
    if (cd "$page" && npm ci --no-progress && npm run build) >"$log" 2>&1 9>&-; then
        mv "$stamp.new" "$stamp"
    else
        tail -n 20 "$log" >&2
        rm -f "$stamp.new"
        say 'ldr-fs: the page could not be built; the output of npm is above'
    fi
    rm -f "$log"
}
