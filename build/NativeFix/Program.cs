using Ldr.NativeFix;

// Usage: Ldr.NativeFix OUTPUT_FOLDER. Fixes every libLibTorchSharp.so below it, where this system needs it.
string folder = args.Single();
bool systemHasSymbol = TorchSharpLibrary.SystemHasSymbol();
foreach (string path in Directory.EnumerateFiles(folder, TorchSharpLibrary.FileName, SearchOption.AllDirectories))
{
    if (TorchSharpLibrary.MakeLoadable(path, systemHasSymbol) == FixResult.Fixed)
    {
        Console.WriteLine($"Adapted {TorchSharpLibrary.FileName} to this system's older libstdc++.");
    }
}
