namespace Ldr

open System.IO
open System.Reflection
open System.Runtime.InteropServices

/// How this process uses the native parts that libtorch brings and needs. On Linux.
module internal NativeSettings =
    [<DllImport("libc")>]
    extern int private setenv(string name, string value, int overwrite)

    // glibc's M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.
    let private trimThreshold = -1
    let private mapThreshold = -3

    [<DllImport("libc")>]
    extern int private mallopt(int parameter, int value)

    /// Idle threads of OpenMP sleep soon instead of spinning on the cores that our kernels want. What the environment says of
    /// GOMP_SPINCOUNT stays.
    let private letThreadsSleep () =
        setenv ("GOMP_SPINCOUNT", "1000", 0) |> ignore

    /// Memory that a step gives back is there for the next one. Else large tensors are new pages at every step, which a
    /// virtual machine pays dearly: a fifth of its time (docs/lab/performance.md). Up to 32 MB, the most that glibc takes.
    let private keepFreedMemory () =
        try
            mallopt (mapThreshold, 32 <<< 20) |> ignore
            mallopt (trimThreshold, System.Int32.MaxValue) |> ignore
        with :? System.EntryPointNotFoundException ->
            () // Another C library than glibc.

    /// Before libtorch is loaded; again does no harm.
    let apply () : unit =
        if RuntimeInformation.IsOSPlatform OSPlatform.Linux then
            letThreadsSleep ()
            keepFreedMemory ()

/// The native parts of torch for F# Interactive, which does not look for them where a program finds them.
module NativeParts =
    let private skia = "libSkiaSharp.so"
    let private names = [ "libtorch_cpu.so"; "libtorch.so"; "libLibTorchSharp.so" ]

    let private subfolders (folder: string) =
        if Directory.Exists folder then
            Directory.GetDirectories folder |> List.ofArray
        else
            []

    /// Where a part may be, seen from the folder of this library: beside a program, in our own package (`native`: a copy that
    /// systems with an older libstdc++ can load), and in the packages beside ours.
    let private folders (own: string) =
        let platform = "linux-x64"

        let inside (folder: string) =
            Path.Combine(folder, "runtimes", platform, "native")

        let package = Path.GetFullPath(Path.Combine(own, "..", ".."))
        let packages = Path.GetFullPath(Path.Combine(package, "..", ".."))

        [
            inside own
            Path.Combine(package, "native", platform)
            for name in
                [
                    "libtorch-cpu-linux-x64"
                    "torchsharp"
                    "skiasharp.nativeassets.linux.nodependencies"
                ] do
                yield! subfolders (Path.Combine(packages, name)) |> List.map inside
        ]

    /// The file of a part, if it is anywhere.
    let private find (own: string) (name: string) : string option =
        folders own
        |> List.map (fun folder -> Path.Combine(folder, name))
        |> List.tryFind File.Exists

    /// SkiaSharp asks for its part by another name than the file gives itself, so that having loaded it does not help.
    let private resolveSkia (own: string) =
        let resolve (_: string) (_: Assembly) (_: System.Nullable<DllImportSearchPath>) =
            find own skia |> Option.map NativeLibrary.Load |> Option.defaultValue 0n

        NativeLibrary.SetDllImportResolver(
            typeof<SkiaSharp.SKImageInfo>.Assembly,
            DllImportResolver(fun name assembly path -> resolve name assembly path)
        )

    let private loaded =
        lazy
            (match Path.GetDirectoryName(Assembly.GetExecutingAssembly().Location) with
             | NonNull own when RuntimeInformation.IsOSPlatform OSPlatform.Linux ->
                 NativeSettings.apply ()
                 resolveSkia own

                 names
                 |> List.filter (find own >> Option.map NativeLibrary.Load >> Option.isNone)
             | _ -> [])

    /// Loads them, on Linux, once; elsewhere TorchSharp finds its own. Names of parts that were not found come back.
    let load () : string list = loaded.Value

/// libtorch, the native part of TorchSharp that trainings compute with. A program may be handed out without it.
module Libtorch =
    /// The version that goes with our TorchSharp; a test compares it with Directory.Build.targets.
    [<Literal>]
    let Version = "2.10.0"

    /// The name that packages have for this system: `linux-x64`.
    let system =
        let name =
            if System.OperatingSystem.IsWindows() then "win"
            elif System.OperatingSystem.IsMacOS() then "osx"
            else "linux"

        $"{name}-{RuntimeInformation.ProcessArchitecture.ToString().ToLowerInvariant()}"

    /// The package that has it for this system; there is none for others.
    let package: string option =
        if List.contains system [ "linux-x64"; "win-x64"; "osx-arm64" ] then
            Some $"libtorch-cpu-{system}"
        else
            None

    let private fileOf (name: string) =
        if System.OperatingSystem.IsWindows() then
            $"{name}.dll"
        elif System.OperatingSystem.IsMacOS() then
            $"lib{name}.dylib"
        else
            $"lib{name}.so"

    /// Where this program looks for native parts.
    let private folders () : string list =
        let own = System.AppContext.BaseDirectory

        [
            own
            Path.Combine(own, "runtimes", system, "native")
            match System.AppContext.GetData "NATIVE_DLL_SEARCH_DIRECTORIES" with
            | :? string as listed -> yield! listed.Split(Path.PathSeparator)
            | _ -> ()
        ]
        |> List.filter Directory.Exists

    let private folderWith (file: string) : string option =
        folders ()
        |> List.tryFind (fun folder -> File.Exists(Path.Combine(folder, file)))

    /// TorchSharp's own native part.
    let bridge = fileOf "LibTorchSharp"

    /// The same, packed, in programs that are handed out without libtorch.
    let packedBridge = bridge + ".gz"

    /// The folder that it lies in, if it is there.
    let folder () : string option = folderWith (fileOf "torch_cpu")

    /// Where it has to lie: beside TorchSharp's own native part, if this program has that.
    let place () : string option =
        folderWith bridge |> Option.orElse (folderWith packedBridge)

    /// One line for a program that lacks it. To be asked before anything computes with it.
    let check () : Result<unit, Error> =
        NativeSettings.apply ()

        match folder (), package with
        | Some _, _ -> Ok()
        | None, Some _ ->
            Error(
                BadInput
                    "this program registers, and lacks libtorch, which trainings compute with; ldr-fs setup-training says how to add it"
            )
        | None, None ->
            Error(
                BadInput
                    $"trainings and --engine torch compute with libtorch, which there is not for {system}; use linux-x64, win-x64 or osx-arm64"
            )
