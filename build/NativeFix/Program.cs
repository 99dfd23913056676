using Ldr.NativeFix;

// Usage: Ldr.NativeFix OUTPUT_FOLDER [always]. Fixes every libLibTorchSharp.so below it, where this system needs it; always, for
// a package that other systems get.
string folder = args[0];
bool always = args.Length > 1 && args[1] == "always";
bool systemHasSymbol = !always && TorchSharpLibrary.SystemHasSymbol();
foreach (string path in Directory.EnumerateFiles(folder, TorchSharpLibrary.FileName, SearchOption.AllDirectories))
{
    if (TorchSharpLibrary.MakeLoadable(path, systemHasSymbol) == FixResult.Fixed)
    {
        Console.WriteLine($"Adapted {TorchSharpLibrary.FileName} to this system's older libstdc++.");
    }
}
