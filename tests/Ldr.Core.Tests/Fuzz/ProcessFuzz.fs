/// Kills at random moments of every kind of write, and streams that are closed, full or broken: an output is the old one or the
/// new one, what was left goes with the next write, and no exit code says that we are at fault. `LDR_FUZZ` as for `FuzzTests`.
module Ldr.Core.Tests.Fuzz.ProcessFuzz

open System
open System.Diagnostics
open System.IO
open System.Runtime.InteropServices
open System.Threading
open Expecto
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.Core.Tests.SmallModel
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process
open Ldr.Core.Tests.Fuzz.FuzzTests
open Ldr.Core.Tests.Fuzz.PathFuzz

/// What every trial reads, made once.
let private inputs =
    lazy
        (let folder = (Directory.CreateTempSubdirectory "ldr-fuzz-inputs-").FullName
         AppDomain.CurrentDomain.ProcessExit.Add(fun _ -> Directory.Delete(folder, true))
         let random = Random 3
         // Long enough to be killed in the middle of.
         let large = Grid(120, 120, 120, Affine.Identity)
         let small = Grid(12, 12, 12, Affine.Identity)

         let noise (grid: Grid) =
             Volume(grid, Array.init (int grid.Count) (fun _ -> float32 (random.Next 30000)), VoxelType.Int16)

         ImageFile.Write(folder </> "large.nii", noise large)
         ImageFile.Write(folder </> "small.nii", noise small)
         TransformFile.WriteAffine(folder </> "map.tfm", Affine.Translation(1.5, 0.0, 0.0))
         File.WriteAllText(folder </> "points.csv", "x_lps,y_lps,z_lps\n1,2,3\n4,5,6\n")
         writeModel (folder </> "model.safetensors")
         folder)

let private input name = inputs.Value </> name

/// A kind of write: a command line for an output, and how the output is read.
type private Write =
    {
        Name: string
        Command: string -> string list
        Digest: string -> string
    }

let private ofValues (values: float32[]) =
    let bytes = Runtime.InteropServices.MemoryMarshal.AsBytes(ReadOnlySpan values)
    Convert.ToHexString(Security.Cryptography.SHA256.HashData bytes)

let private writes (scan: string) : Write list =
    [
        for ending in [ ".nii"; ".nii.gz"; ".mha"; ".mhd"; ".nrrd"; ".nhdr" ] do
            {
                Name = "moved" + ending
                Command =
                    fun output ->
                        [
                            "apply"
                            "--transform"
                            input "map.tfm"
                            "--moving"
                            input scan
                            "--reference"
                            input scan
                            "--output"
                            output
                        ]
                Digest = fun path -> ofValues (ImageFile.Read path).Values
            }
        for ending in [ ".nii.gz"; ".mhd"; ".nhdr"; ".h5" ] do
            {
                Name = "field" + ending
                Command =
                    fun output ->
                        [
                            "invert"
                            "--transform"
                            input "map.tfm"
                            "--reference"
                            input scan
                            "--output"
                            output
                        ]
                Digest =
                    fun path ->
                        match TransformStore.read None None path with
                        | :? Transform.Dense as dense -> ofValues dense.Field.Vectors
                        | other -> string (other.MapPoint(1.0, 2.0, 3.0))
            }
        {
            Name = "model.safetensors"
            Command = fun output -> [ "ship"; "--model"; input "model.safetensors"; "--output"; output ]
            Digest =
                fun path ->
                    let card, file = ModelFile.inspect path |> Error.orRaise
                    $"{card.Steps} {file.Tensors.Count}"
        }
        {
            Name = "points.csv"
            Command =
                fun output ->
                    [
                        "apply-points"
                        "--transform"
                        input "map.tfm"
                        "--points"
                        input "points.csv"
                        "--output"
                        output
                    ]
            Digest = File.ReadAllText
        }
    ]

/// Starts a write over an older output, kills it at a random moment, looks, and writes again.
let private kill (random: Random) (folder: string) =
    let write = pick random (writes "large.nii")
    let small = writes "small.nii" |> List.find (fun w -> w.Name = write.Name)
    let output = folder </> write.Name
    let first = ldr (small.Command output)

    if first.Code <> 0 then
        wrong $"{write.Name}: {first.Errors}"

    let old = write.Digest output
    let before = Directory.GetFileSystemEntries folder |> Set.ofArray
    use running = start "dotnet" (program :: write.Command output)
    running.OutputDataReceived.Add ignore
    running.ErrorDataReceived.Add ignore
    running.BeginOutputReadLine()
    running.BeginErrorReadLine()

    if random.Next 4 = 0 then
        running.WaitForExit(random.Next 700) |> ignore
    else
        // From the moment that something appears.
        while not running.HasExited
              && (Directory.GetFileSystemEntries folder |> Set.ofArray) = before do
            Thread.Sleep 1

        running.WaitForExit(random.Next 120) |> ignore

    // 9 for the hardest one, or a signal after which it cleans up.
    let signal = pick random [ "KILL"; "KILL"; "TERM"; "INT"; "HUP" ]

    if not running.HasExited then
        run "kill" [ "-" + signal; string running.Id ] |> ignore

    running.WaitForExit()
    let left () = Directory.GetFiles(folder, ".*.tmp")

    if signal <> "KILL" && (left ()).Length > 0 then
        wrong $"{write.Name}: {signal} leaves %A{left ()}"

    let now =
        try
            write.Digest output
        with :? InvalidFileException as error ->
            wrong $"{write.Name} after {signal}: {error.Message}"

    let again = ldr (small.Command output)

    if again.Code <> 0 then
        wrong $"{write.Name} after {signal}: {again.Errors}"

    if write.Digest output <> old then
        wrong $"{write.Name}: another result"

    if (left ()).Length > 0 then
        wrong $"{write.Name}: the next write leaves %A{left ()}"

    if now <> old then
        // The new one: whole, and of the new size.
        let whole = ldr (write.Command output)

        if whole.Code <> 0 || write.Digest output <> now then
            wrong $"{write.Name} after {signal}: neither the old one nor the new one"

/// Verbs with closed, full or broken streams.
let private stream (random: Random) (folder: string) =
    let quote (text: string) = "'" + text.Replace("'", "'\\''") + "'"
    let write = pick random (writes "small.nii")

    let output, reference =
        folder </> write.Name, folder </> ("reference-" + write.Name)

    let command =
        match random.Next 6 with
        | 0 -> [ "inspect"; input "small.nii" ]
        | 1 -> [ "inspect"; "missing.nii" ]
        | 2 -> [ "register"; "--nonsense" ]
        | 3 -> pick random [ [ "--help" ]; [ "--version" ]; [ "apply"; "--help" ]; [ "nonsense" ]; [] ]
        | _ -> write.Command output

    let command =
        if random.Next 3 = 0 && command.Length > 2 then
            command @ [ "--json" ]
        else
            command

    let streams =
        [
            pick random [ ""; "<&-"; "</dev/null"; "</dev/zero" ]
            pick random [ ""; ">&-"; ">/dev/full"; ">/dev/null" ]
            pick random [ ""; "2>&-"; "2>/dev/full"; "2>/dev/null"; "2>&1" ]
        ]
        |> String.concat " "

    let line = command |> List.map quote |> String.concat " "

    let outcome =
        if random.Next 5 = 0 then
            // A reader that goes away; the program's own code comes by a file.
            let code = folder </> "code"

            let piped =
                run
                    "sh"
                    [
                        "-c"
                        $"(dotnet {quote program} {line} {streams}; echo $? >{quote code}) | true"
                    ]

            { piped with
                Code = int (File.ReadAllText code)
            }
        else
            run "sh" [ "-c"; $"exec dotnet {quote program} {line} {streams}" ]

    if not (List.contains outcome.Code [ 0; 1; 2 ]) then
        wrong $"{outcome.Code} of {line} {streams}: {outcome.Errors}"

    if File.Exists output then
        // What was printed went nowhere near it.
        let plain = ldr (write.Command reference)

        if plain.Code <> 0 || write.Digest output <> write.Digest reference then
            wrong $"the output of {line} {streams} is another one"

    if Directory.GetFiles(folder, ".*.tmp").Length > 0 then
        wrong $"{line} {streams} leaves a temporary file"

/// The system's own: a program that sends it would take as long to start as the write takes.
[<DllImport("libc", EntryPoint = "kill")>]
extern int private sendSignal(int processId, int signal)

/// Sends a signal to a write as soon as its temporary file is there; the exit code.
let private signalled (signal: int) (folder: string) (write: Write) : int =
    use running = start "dotnet" (program :: write.Command(folder </> write.Name))
    running.OutputDataReceived.Add ignore
    running.ErrorDataReceived.Add ignore
    running.BeginOutputReadLine()
    running.BeginErrorReadLine()
    // The first one tries whether the folder can be written to.
    while not running.HasExited && (Directory.GetFiles(folder, ".*-2.tmp")).Length = 0 do
        Thread.Yield() |> ignore

    sendSignal (running.Id, signal) |> ignore
    running.WaitForExit()
    running.ExitCode

/// In the middle of a write, every signal that can be heard leaves no temporary file, and the old output.
let private signals =
    onUnix "a signal in the middle of a write leaves nothing" (fun folder ->
        for write in
            writes "large.nii"
            |> List.filter (fun w -> List.contains w.Name [ "moved.nii.gz"; "field.nhdr" ]) do
            for name, signal in
                [ "TERM", 15; "HUP", 1; "QUIT", 3; "INT", 2 ]
                |> List.filter (fun (_, signal) -> not (ignores signal)) do
                // On a busy machine a signal may come after the end: then once more.
                let rec attempt left =
                    let code = signalled signal folder write

                    if code = 0 && left > 0 then
                        for file in Directory.GetFiles folder do
                            File.Delete file

                        attempt (left - 1)
                    else
                        code

                Expect.notEqual (attempt 10) 0 $"{name}: it was in the middle"
                Expect.isEmpty (Directory.GetFileSystemEntries folder) $"{write.Name}, {name}")

let tests =
    // A process takes a third of a second: of these there are fewer.
    let few = if total > 2000 then total / 1000 else 4

    testList
        "fuzz"
        [
            if not (OperatingSystem.IsWindows()) then
                signals
                trials false "kills" few kill
                trials false "streams" (few + few / 2) stream
        ]
