// Registers many scans to one, and lists the outliers: dotnet fsi cohort.fsx [TEMPLATE FOLDER], else synthetic scans.
#load "ldr.fsx"

open System
open System.IO
open Ldr
open Ldr.Runtime.Formats
open Ldr.Runtime.Groups
open Ldr.Runtime.Registration

let folder = (Directory.CreateDirectory(Scripts.folder "cohort")).FullName

let synthetic () =
    let scans = (Directory.CreateDirectory(Path.Combine(folder, "scans"))).FullName

    for i in 0..6 do
        (fst (Scripts.subject i)).Write(Path.Combine(scans, $"s{i}.nii.gz"))

    Path.Combine(scans, "s0.nii.gz"), scans

let template, scans =
    match List.ofArray fsi.CommandLineArgs with
    | [ _; template; scans ] -> template, scans
    | _ -> synthetic ()

let plan = ScanFolder.Read(scans, CohortScan(Path.GetFullPath template))

let progress =
    { new IProgress<CohortProgress> with
        member _.Report now =
            printfn $"{now.Finished} of {now.Pairs}: {now.Last.Id} {now.Last.State} {now.Last.Problem}"
    }

let summary = Cohort.Run(plan.Pairs, folder, (fun _ -> new Registrar()), null, progress)

printfn $"{summary.Done} done, {summary.Skipped} skipped, {summary.Failed.Count} failed"

for pair in (GroupPage.Write folder).Pairs |> Seq.truncate 3 do
    printfn $"{pair.Row.Id}: {pair.Row.Verdict}, score {pair.Score:F1} {pair.Reason}"
