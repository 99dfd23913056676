@echo off
rem ldr-fs VERB ...: sets up what is missing, builds when a source changed, runs the verb. The same as ./ldr-fs, on Windows.
rem Not run by us: we have no Windows. docs/guide/install.md says what it needs.
setlocal
powershell -NoLogo -NoProfile -ExecutionPolicy Bypass -File "%~dp0build\setup.ps1" -Project src\Ldr.Cli -Verb "%~1"
if errorlevel 1 exit /b %errorlevel%
if not defined GOMP_SPINCOUNT set GOMP_SPINCOUNT=1000
dotnet "%~dp0src\Ldr.Cli\bin\Release\net10.0\ldr-fs.dll" %*
exit /b %errorlevel%
