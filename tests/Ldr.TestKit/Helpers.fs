/// What the tests of Ldr.Runtime share.
module Ldr.TestKit.Helpers

open System
open System.Diagnostics
open System.IO
open Expecto
open FsCheck
open FsCheck.FSharp
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats

/// Runs a test with the path of a folder of its own, and removes the folder.
let inFolder (body: string -> unit) () =
    let folder = Directory.CreateTempSubdirectory "ldr-runtime-"

    try
        body folder.FullName
    finally
        folder.Delete true

let testInFolder name body = testCase name (inFolder body)

/// A test of links, pipes, devices or signals.
let onUnix name body =
    testInFolder name (fun folder ->
        if OperatingSystem.IsWindows() then
            Tests.skiptest "links, pipes and devices are tested on Unix"

        body folder)

/// Makes a named pipe.
let fifo (path: string) =
    use made = Process.Start("mkfifo", [ path ])
    made.WaitForExit()

let (</>) (folder: string) (name: string) = Path.Combine(folder, name)

/// The error of an action that must fail with InvalidFileException: of one line that starts with the path.
let invalid (path: string) (action: unit -> 'a) =
    let error =
        try
            action () |> ignore
            None
        with :? InvalidFileException as error ->
            Some error

    match error with
    | None -> failtest "expected an InvalidFileException"
    | Some error ->
        Expect.equal error.Path path "path"
        Expect.stringStarts error.Message (path + ": ") "the message names the file"
        Expect.isFalse (error.Message.Contains '\n') "the message is one line"
        Expect.isNotEmpty error.Remedy "the message says what would be right"
        error.Message

/// The same, and the message holds a text and comes quickly.
let refuses (path: string) (text: string) (action: unit -> 'a) =
    let watch = Stopwatch.StartNew()
    let before = GC.GetAllocatedBytesForCurrentThread()
    let message = invalid path action
    let allocated = GC.GetAllocatedBytesForCurrentThread() - before
    Expect.stringContains message text "the message"
    Expect.isLessThan allocated (16L * 1024L * 1024L) "nothing large is allocated for a bad file"
    Expect.isLessThan watch.Elapsed.TotalSeconds 3. "a bad file is refused quickly"

let randomFloats (random: Random) count (low: float) (high: float) =
    Array.init count (fun _ -> float32 (low + (high - low) * random.NextDouble()))

let gridOf nx ny nz = Grid(nx, ny, nz, Affine.Identity)

let randomVolume (random: Random) (grid: Grid) =
    Volume(grid, randomFloats random (int grid.Count) -100. 100.)

/// Components between -size and size voxels.
let randomField (random: Random) (grid: Grid) size =
    DisplacementField(grid, randomFloats random (3 * int grid.Count) -size size)

/// A rotation about a random axis with random spacing and offset; left-handed when asked.
let obliqueAffine (random: Random) leftHanded =
    let a, b, c =
        random.NextDouble() * 6., random.NextDouble() * 6., random.NextDouble() * 6.

    let rotateX =
        Affine.FromRows(1., 0., 0., 0., 0., cos a, -sin a, 0., 0., sin a, cos a, 0.)

    let rotateY =
        Affine.FromRows(cos b, 0., sin b, 0., 0., 1., 0., 0., -sin b, 0., cos b, 0.)

    let rotateZ =
        Affine.FromRows(cos c, -sin c, 0., 0., sin c, cos c, 0., 0., 0., 0., 1., 0.)

    let spacing () = 0.5 + 2. * random.NextDouble()
    let offset () = 100. * (random.NextDouble() - 0.5)

    Affine
        .Scaling(spacing (), spacing (), (if leftHanded then -1. else 1.) * spacing ())
        .Then(rotateX)
        .Then(rotateY)
        .Then(rotateZ)
        .Then(Affine.Translation(offset (), offset (), offset ()))

/// Runs Python; skips the test where Python, nibabel, scipy or h5py is not installed.
let python (script: string) (arguments: string list) =
    let run (script: string) arguments =
        let start = ProcessStartInfo "/usr/bin/python3"
        start.RedirectStandardOutput <- true
        start.RedirectStandardError <- true
        start.ArgumentList.Add "-c"
        start.ArgumentList.Add script
        arguments |> List.iter start.ArgumentList.Add
        use proc = Process.Start start
        let errors = proc.StandardError.ReadToEndAsync()
        let output = proc.StandardOutput.ReadToEnd()
        proc.WaitForExit()
        proc.ExitCode, output, errors.Result

    let available =
        File.Exists "/usr/bin/python3"
        && (let code, _, _ = run "import nibabel, scipy, h5py" [] in code = 0)

    if not available then
        Tests.skiptest "nibabel, scipy or h5py is not installed for /usr/bin/python3"

    let code, output, errors = run script arguments
    Expect.equal code 0 $"Python says: {errors}"
    output

/// A property over a seed: whoever reads a failure can repeat it.
let testSeeds name count (body: Random -> unit) =
    testPropertyWithConfig
        { FsCheckConfig.defaultConfig with
            maxTest = count
            arbitrary = []
        }
        name
        (Prop.forAll (Arb.fromGen (Gen.choose (0, Int32.MaxValue - 1))) (fun seed -> body (Random seed)))

/// Every file of a folder; of JSON without how long it took.
let contents (folder: string) : Map<string, string> =
    Directory.GetFiles(folder, "*", SearchOption.AllDirectories)
    |> Array.map (fun file ->
        let bytes = File.ReadAllBytes file

        let text =
            if file.EndsWith ".json" then
                let node = (nonNull (Text.Json.Nodes.JsonNode.Parse bytes)).AsObject()
                node.Remove "milliseconds" |> ignore
                node.ToJsonString()
            else
                Convert.ToHexString(Security.Cryptography.SHA256.HashData bytes)

        Path.GetRelativePath(folder, file), text)
    |> Map.ofArray

/// Expects the same files with the same contents.
let same (expected: Map<string, string>) (actual: Map<string, string>) =
    Expect.equal (List.ofSeq actual.Keys) (List.ofSeq expected.Keys) "names of files"

    for KeyValue(name, content) in expected do
        Expect.equal actual[name] content name
