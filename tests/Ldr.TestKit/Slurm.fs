/// A Slurm of its own on this machine: munged, slurmctld and two slurmd, all of whose files lie in one folder.
module Ldr.TestKit.Slurm

open System
open System.Diagnostics
open System.IO
open System.Net
open System.Net.Sockets
open System.Threading
open Expecto
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process

let private freePort () =
    use listener = new TcpListener(IPAddress.Loopback, 0)
    listener.Start()
    (listener.LocalEndpoint :?> IPEndPoint).Port

let private configuration (folder: string) =
    let host, user = Dns.GetHostName(), Environment.UserName

    let node (name: string) =
        $"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={freePort ()} CPUs=2 RealMemory=16000"

    // A job that lost its node waits 5 s.
    $"""ClusterName=ldr
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={freePort ()}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
KillWait=2
ReturnToService=2
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=1,sched_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
{node "n1"}
{node "n2"}
PartitionName=all Nodes=n1,n2 Default=YES State=UP
"""

[<Sealed>]
type Slurm private (folder: string) =
    let file = folder </> "slurm.conf"
    let daemons = Collections.Generic.List<Process>()

    /// Starts a program that knows this Slurm.
    let begin' (variables: (string * string) list) (program: string) (arguments: string list) =
        let info =
            ProcessStartInfo(program, arguments, RedirectStandardOutput = true, RedirectStandardError = true)

        info.Environment["SLURM_CONF"] <- file

        for name, value in variables do
            info.Environment[name] <- value

        nonNull (Process.Start info)

    let daemon variables program arguments =
        let running = begin' variables program arguments
        running.StandardOutput.ReadToEndAsync() |> ignore
        running.StandardError.ReadToEndAsync() |> ignore
        daemons.Add running

    let node (name: string) =
        daemon [ "LDR_NODE", name ] "slurmd" [ "-D"; "-N"; name ]

    /// The processes of a node in the order in which they are to be killed: slurmd, then what watches over jobs, then the jobs.
    let processesOf (name: string) : int list =
        let read (file: string) =
            try
                File.ReadAllText file
            with
            | :? IOException
            | :? UnauthorizedAccessException -> ""

        let parent (id: int) =
            let fields = (read $"/proc/{id}/stat").Split ')' |> Array.last
            fields.Split(' ', StringSplitOptions.RemoveEmptyEntries) |> Array.tryItem 1

        [
            for folder in Directory.GetDirectories "/proc" do
                match Int32.TryParse(Path.GetFileName folder) with
                | true, id ->
                    let variables = (read $"{folder}/environ").Split '\000'

                    if Array.contains $"SLURM_CONF={file}" variables then
                        if Array.contains $"LDR_NODE={name}" variables then
                            0, id

                        if Array.contains $"SLURMD_NODENAME={name}" variables then
                            2, id

                            for parent in Option.toList (parent id) do
                                if (read $"/proc/{parent}/comm").StartsWith "slurmstepd" then
                                    1, int parent
                | _ -> ()
        ]
        |> List.distinct
        |> List.sort
        |> List.map snd

    let killNode (name: string) =
        for id in processesOf name do
            try
                use running = Process.GetProcessById id
                running.Kill()
            with
            | :? ArgumentException
            | :? InvalidOperationException
            | :? ComponentModel.Win32Exception -> ()

    /// The file that its programs find by SLURM_CONF.
    member _.File = file

    /// Runs a program that knows this Slurm.
    member _.Run (program: string) (arguments: string list) : int * string * string =
        use running = begin' [] program arguments
        let errors = running.StandardError.ReadToEndAsync()
        let output = running.StandardOutput.ReadToEnd()
        running.WaitForExit()
        running.ExitCode, output.Trim(), errors.Result

    /// The jobs that are not over, a line each: task, state, node.
    member this.Queue() : string list =
        let _, output, _ =
            this.Run "squeue" [ "--noheader"; "--array"; "--format=%i %t %N" ]

        output.Split('\n', StringSplitOptions.RemoveEmptyEntries) |> List.ofArray

    /// Waits until something is so.
    member this.Await (what: string) (seconds: float) (isSo: unit -> bool) =
        let clock = Stopwatch.StartNew()

        while not (isSo ()) do
            if clock.Elapsed.TotalSeconds > seconds || (this.Queue().IsEmpty && not (isSo ())) then
                let queue = String.concat "; " (this.Queue())

                let log =
                    File.ReadLines(folder </> "slurmctld.log")
                    |> Seq.rev
                    |> Seq.truncate 15
                    |> String.concat "\n"

                failtest $"{what}: not after {seconds} s; queue: {queue}\n{log}"

            Thread.Sleep 100

    /// A node dies, with all that runs on it. Slurm would notice within minutes, and is told.
    member this.KillNode(name: string) =
        killNode name

        let code, _, errors =
            this.Run "scontrol" [ "update"; $"nodename={name}"; "state=down"; "reason=died" ]

        Expect.equal code 0 errors

    member _.StartNode(name: string) = node name

    /// Starts it; skips the test where that cannot be.
    static member Start(folder: string) : Slurm =
        for program in [ "munged"; "slurmctld"; "slurmd" ] do
            if not (File.Exists $"/usr/sbin/{program}" || has program) then
                skiptest $"{program} is not installed (Debian: slurm-wlm, munge)"

        let home = folder </> "slurm"
        Directory.CreateDirectory(home </> "state") |> ignore
        let slurm = new Slurm(home)
        slurm.Begin()
        slurm

    member private this.Begin() =
        let key = folder </> "munge.key"
        File.WriteAllBytes(key, Security.Cryptography.RandomNumberGenerator.GetBytes 1024)
        File.SetUnixFileMode(key, UnixFileMode.UserRead ||| UnixFileMode.UserWrite)
        File.WriteAllText(file, configuration folder)

        daemon
            []
            "munged"
            [
                "--foreground"
                "--force"
                $"--key-file={key}"
                $"--socket={folder}/munge.socket"
                $"--pid-file={folder}/munge.pid"
                $"--log-file={folder}/munge.log"
                $"--seed-file={folder}/munge.seed"
            ]

        let clock = Stopwatch.StartNew()

        while not (File.Exists(folder </> "munge.socket")) && clock.Elapsed.TotalSeconds < 5.0 do
            Thread.Sleep 20

        daemon [] "slurmctld" [ "-D" ]
        node "n1"
        node "n2"

        let isUp () =
            let _, output, _ = this.Run "sinfo" [ "--noheader"; "--Node"; "--format=%t" ]
            output.Split('\n') |> Array.filter ((=) "idle") |> Array.length = 2

        while not (isUp ()) && clock.Elapsed.TotalSeconds < 20.0 do
            Thread.Sleep 100

        if not (isUp ()) then
            (this :> IDisposable).Dispose()
            skiptest "Slurm cannot be started here"

    interface IDisposable with
        member _.Dispose() =
            killNode "n1"
            killNode "n2"

            for running in daemons do
                if not running.HasExited then
                    running.Kill()

                running.WaitForExit()
                running.Dispose()
