# Called by ldr-fs.cmd and test.cmd: what build/setup.sh does, on Windows. Windows PowerShell 5.1 or newer.
# It checks the SDK, restores tools and packages, and builds a project when a source is newer than its last build.
# Everything it says goes to stderr. Exit codes: 0 done, 1 something is missing here, 70 a step failed.
param(
    [Parameter(Mandatory)] [string] $Project,
    [string] $Verb = ''
)

$ErrorActionPreference = 'Stop'
$root = Split-Path -Parent $PSScriptRoot
Set-Location $root
$env:DOTNET_CLI_TELEMETRY_OPTOUT = '1'
$env:DOTNET_NOLOGO = '1'
$env:DOTNET_CLI_USE_MSBUILD_SERVER = '0'
$env:MSBUILDDISABLENODEREUSE = '1'
$env:UseSharedCompilation = 'false'

# Which native parts of torch are built in: as in Directory.Build.targets, only `true` means CUDA (TorchSharp-cuda-windows).
$mode = 'cpu'
if ($env:LDR_CUDA -eq 'true') { $mode = 'cuda' }

function Say([string] $text) { [Console]::Error.WriteLine($text) }

# Runs a command quietly; shows what it printed, and stops, when it fails.
function Invoke-Quietly([string[]] $command) {
    $program = $command[0]
    $rest = @($command | Select-Object -Skip 1)
    $ErrorActionPreference = 'Continue'
    $output = & $program @rest 2>&1 | Out-String
    if ($LASTEXITCODE -ne 0) {
        Say $output
        Say "ldr-fs: the step '$($command -join ' ')' failed; its output is above"
        exit 70
    }
}

function Test-Sdk {
    if (-not (Get-Command dotnet -ErrorAction SilentlyContinue)) {
        Say 'ldr-fs: the .NET SDK is missing; install .NET SDK 10 (https://dotnet.microsoft.com/download) and run this again'
        exit 1
    }
    $ErrorActionPreference = 'Continue'
    & dotnet --version 2>&1 | Out-Null
    if ($LASTEXITCODE -ne 0) {
        Say 'ldr-fs: no .NET SDK 10 among those that are installed; install it (https://dotnet.microsoft.com/download)'
        exit 1
    }
}

# The package feed that this machine is configured for: the first one that is enabled.
function Find-Feed {
    if (-not $env:NUGET_FEED) {
        $line = & dotnet nuget list source --format short | Where-Object { $_ -like 'E*' } | Select-Object -First 1
        if (-not $line) {
            Say 'ldr-fs: no NuGet feed is enabled; add one with: dotnet nuget add source ADDRESS'
            exit 1
        }
        $env:NUGET_FEED = ($line -split ' ', 2)[1].Trim()
    }
}

function Restore-Packages {
    $lock = Join-Path $root 'paket.lock'
    $targets = Join-Path $root '.paket\Paket.Restore.targets'
    $wanted = Get-Item (Join-Path $root 'paket.dependencies')
    $isOld = -not (Test-Path $lock) -or -not (Test-Path $targets) -or $wanted.LastWriteTimeUtc -gt (Get-Item $lock).LastWriteTimeUtc
    if ($isOld) {
        Say 'Setting up: tools and packages, once; a few minutes ...'
        Invoke-Quietly @('dotnet', 'tool', 'restore')
        Invoke-Quietly @('dotnet', 'paket', 'install')
        (Get-Item $lock).LastWriteTimeUtc = [DateTime]::UtcNow
    }
}

# Whether the last build of a project is newer than every source, and of this mode.
function Test-Built([string] $stamp) {
    if (-not (Test-Path $stamp)) { return $false }
    if ((Get-Content $stamp -First 1) -ne $mode) { return $false }
    $built = (Get-Item $stamp).LastWriteTimeUtc
    $folders = 'src', 'build', 'tests', 'examples' | ForEach-Object { Join-Path $root $_ }
    $files = Get-ChildItem $folders -Recurse -File |
        Where-Object { $_.FullName -notmatch '\\(bin|obj)\\' -and $_.FullName -notmatch '\\Ldr\.App\\page\\' }
    $files += Get-ChildItem $root -File | Where-Object { $_.Extension -in '.props', '.targets', '.json', '.dependencies' }
    return -not ($files | Where-Object { $_.LastWriteTimeUtc -gt $built } | Select-Object -First 1)
}

# The page of `ldr-fs app`, built where npm is there and a source is newer than the last build. Without it the API works.
function Build-Page {
    $page = Join-Path $root 'src\Ldr.App\page'
    $index = Join-Path $page 'dist\index.html'
    if (Test-Path $index) {
        $built = (Get-Item $index).LastWriteTimeUtc
        $newer = Get-ChildItem $page -Recurse -File |
            Where-Object { $_.FullName -notmatch '\\(node_modules|dist)\\' -and $_.LastWriteTimeUtc -gt $built } |
            Select-Object -First 1
        if (-not $newer) { return }
    }
    if (-not (Get-Command npm -ErrorAction SilentlyContinue)) {
        Say 'ldr-fs: npm is missing, so the page is not built; install Node.js 20 or newer and run this again'
        return
    }
    Say 'Building the page ...'
    Push-Location $page
    $ErrorActionPreference = 'Continue'
    $output = & npm ci --no-progress 2>&1 | Out-String
    if ($LASTEXITCODE -eq 0) { $output = & npm run build 2>&1 | Out-String }
    $code = $LASTEXITCODE
    Pop-Location
    if ($code -ne 0) {
        Say $output
        Say 'ldr-fs: the page could not be built; the output of npm is above'
    }
}

Test-Sdk
$folder = Join-Path $root '.build'
New-Item -ItemType Directory -Force $folder | Out-Null
$stamp = Join-Path $folder (Split-Path -Leaf $Project)
# Ldr.sln has every project in it: what test.cmd has built, ldr-fs.cmd does not build again.
if (-not ((Test-Built $stamp) -or (Test-Built (Join-Path $folder 'Ldr.sln')))) {
    Find-Feed
    Restore-Packages
    Say "Building $(Split-Path -Leaf $Project) ..."
    # The stamp has the time of the build's start: what changed meanwhile is built the next time.
    $started = [DateTime]::UtcNow
    Invoke-Quietly @('dotnet', 'build', (Join-Path $root $Project), '-c', 'Release', '--nologo')
    Set-Content $stamp $mode
    (Get-Item $stamp).LastWriteTimeUtc = $started
}
if ($Verb -eq 'app') { Build-Page }
exit 0
