@echo off
rem Sets up what is missing, builds, and runs every test. Arguments go to the test programs (--filter NAME, --list-tests).
rem The same as ./test, on Windows, one project after the other. LDR_DATA is the folder with the real scans.
rem Not run by us: we have no Windows. docs/guide/install.md says what it needs.
setlocal enabledelayedexpansion
powershell -NoLogo -NoProfile -ExecutionPolicy Bypass -File "%~dp0build\setup.ps1" -Project Ldr.sln -Verb app
if errorlevel 1 exit /b %errorlevel%
cd /d "%~dp0"

rem The names of tests start with ldr/runtime, ldr/core, ldr/cli or ldr/app: a filter needs one project.
set projects=Runtime Core Cli App
set arguments=%*
if defined arguments (
    for %%P in (Runtime Core Cli App) do (
        echo !arguments! | findstr /i /c:"ldr/%%P" >nul && set projects=%%P
    )
)

set code=0
for %%P in (%projects%) do (
    dotnet tests\Ldr.%%P.Tests\bin\Release\net10.0\Ldr.%%P.Tests.dll %*
    if errorlevel 1 set code=1
)
exit /b %code%
