using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;

namespace Ldr.NativeFix;

/// <summary>What <see cref="TorchSharpLibrary.MakeLoadable"/> did.</summary>
public enum FixResult
{
    /// <summary>The system's libstdc++ has the symbol: the file is as it was.</summary>
    NotNeeded,

    /// <summary>The file asks for the symbol no longer: it was fixed before.</summary>
    AlreadyFixed,

    /// <summary>The file was replaced by a fixed copy.</summary>
    Fixed,
}

/// <summary>
/// TorchSharp's native library is linked against <c>GLIBCXX_3.4.32</c> for one symbol only,
/// <c>_ZSt21ios_base_library_initv</c>. On a system with an older libstdc++ the loader refuses it. The fix, in a copy:
/// the version need becomes weak, and the symbol is renamed to <c>_ZNSt8ios_base4InitC1Ev</c> (version
/// <c>GLIBCXX_3.4</c>), which does what the missing function does: it initialises the standard streams.
/// </summary>
public static class TorchSharpLibrary
{
    /// <summary>The name of the library's file.</summary>
    public const string FileName = "libLibTorchSharp.so";

    /// <summary>The one symbol that an older libstdc++ lacks.</summary>
    public const string MissingSymbol = "_ZSt21ios_base_library_initv";

    private const string Replacement = "_ZNSt8ios_base4InitC1Ev";
    private const string MissingVersion = "GLIBCXX_3.4.32";
    private const string BaseVersion = "GLIBCXX_3.4";
    private const ushort VersionIndexMask = 0x7fff;
    private const ushort WeakFlag = 2;
    private const int SymbolSize = 24;

    /// <summary>Whether this system's libstdc++ exports the symbol, so that nothing has to be done.</summary>
    public static bool SystemHasSymbol() =>
        NativeLibrary.TryLoad("libstdc++.so.6", out nint library)
        && NativeLibrary.TryGetExport(library, MissingSymbol, out _);

    /// <summary>
    /// Fixes the library in place where the system needs it. A new file takes the old one's name, so that a hard
    /// link elsewhere (the package folder) keeps its contents.
    /// </summary>
    /// <param name="path">The library in an output folder.</param>
    /// <param name="systemHasSymbol">The answer of <see cref="SystemHasSymbol"/>.</param>
    /// <exception cref="InvalidDataException">The file is not the 64-bit ELF library that the fix knows.</exception>
    public static FixResult MakeLoadable(string path, bool systemHasSymbol)
    {
        if (systemHasSymbol)
        {
            return FixResult.NotNeeded;
        }

        byte[] file = File.ReadAllBytes(path);
        if (!Patch(file))
        {
            return FixResult.AlreadyFixed;
        }

        string temporary = path + ".fixing";
        File.WriteAllBytes(temporary, file);
        File.Move(temporary, path, overwrite: true);
        return FixResult.Fixed;
    }

    private readonly record struct Section(uint Type, int Offset, int Size, uint NameOffset);

    /// <summary>Changes the bytes; false when the symbol is not asked for.</summary>
    private static bool Patch(byte[] file)
    {
        if (file.Length < 64 || file[0] != 0x7f || file[1] != 'E' || file[2] != 'L' || file[3] != 'F' || file[4] != 2)
        {
            throw new InvalidDataException("not a 64-bit ELF library");
        }

        Dictionary<string, Section> sections = Sections(file);
        Section symbols = sections[".dynsym"];
        int strings = sections[".dynstr"].Offset;
        int versions = sections[".gnu.version"].Offset;

        int missing = -1;
        int basis = -1;
        int missingEntry = 0;
        foreach ((int entry, string name, int index) in VersionNeeds(file, sections[".gnu.version_r"].Offset, strings))
        {
            if (name == MissingVersion)
            {
                (missing, missingEntry) = (index, entry);
            }
            else if (name == BaseVersion)
            {
                basis = index;
            }
        }

        if (missing < 0)
        {
            return false;
        }

        if (basis < 0)
        {
            throw new InvalidDataException($"no need of {BaseVersion} to take the version from");
        }

        bool changed = false;
        for (int i = 0; i < symbols.Size / SymbolSize; i++)
        {
            int version = versions + (2 * i);
            if ((ReadUInt16(file, version) & VersionIndexMask) != missing)
            {
                continue;
            }

            int name = strings + (int)ReadUInt32(file, symbols.Offset + (SymbolSize * i));
            if (Text(file, name) != MissingSymbol)
            {
                throw new InvalidDataException($"{MissingVersion} is asked for by {Text(file, name)} too");
            }

            Span<byte> place = file.AsSpan(name, MissingSymbol.Length);
            place.Clear();
            Encoding.ASCII.GetBytes(Replacement, place);
            BinaryPrimitives.WriteUInt16LittleEndian(file.AsSpan(version), (ushort)basis);
            changed = true;
        }

        int flags = missingEntry + 4;
        BinaryPrimitives.WriteUInt16LittleEndian(file.AsSpan(flags), (ushort)(ReadUInt16(file, flags) | WeakFlag));
        return changed;
    }

    private static Dictionary<string, Section> Sections(byte[] file)
    {
        int table = (int)BinaryPrimitives.ReadInt64LittleEndian(file.AsSpan(0x28));
        int entrySize = ReadUInt16(file, 0x3a);
        int count = ReadUInt16(file, 0x3c);
        int namesIndex = ReadUInt16(file, 0x3e);
        var all = new Section[count];
        for (int i = 0; i < count; i++)
        {
            int entry = table + (i * entrySize);
            all[i] = new Section(
                ReadUInt32(file, entry + 4),
                (int)BinaryPrimitives.ReadInt64LittleEndian(file.AsSpan(entry + 24)),
                (int)BinaryPrimitives.ReadInt64LittleEndian(file.AsSpan(entry + 32)),
                ReadUInt32(file, entry));
        }

        int names = all[namesIndex].Offset;
        return all.GroupBy(s => Text(file, names + (int)s.NameOffset)).ToDictionary(g => g.Key, g => g.First());
    }

    /// <summary>The entries of the version-needs section: place, name and version index.</summary>
    private static IEnumerable<(int Entry, string Name, int Index)> VersionNeeds(byte[] file, int section, int strings)
    {
        int library = section;
        while (true)
        {
            int entry = library + (int)ReadUInt32(file, library + 8);
            for (int left = ReadUInt16(file, library + 2); left > 0; left--)
            {
                yield return (entry, Text(file, strings + (int)ReadUInt32(file, entry + 8)), ReadUInt16(file, entry + 6));
                entry += (int)ReadUInt32(file, entry + 12);
            }

            int next = (int)ReadUInt32(file, library + 12);
            if (next == 0)
            {
                yield break;
            }

            library += next;
        }
    }

    private static ushort ReadUInt16(byte[] file, int offset) =>
        BinaryPrimitives.ReadUInt16LittleEndian(file.AsSpan(offset));

    private static uint ReadUInt32(byte[] file, int offset) =>
        BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(offset));

    private static string Text(byte[] file, int offset) =>
        Encoding.ASCII.GetString(file, offset, Array.IndexOf(file, (byte)0, offset) - offset);
}
