namespace Ldr

open System.IO
open System.Reflection
open System.Runtime.InteropServices

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
                 resolveSkia own

                 names
                 |> List.filter (find own >> Option.map NativeLibrary.Load >> Option.isNone)
             | _ -> [])

    /// Loads them, on Linux, once; elsewhere TorchSharp finds its own. Names of parts that were not found come back.
    let load () : string list = loaded.Value
