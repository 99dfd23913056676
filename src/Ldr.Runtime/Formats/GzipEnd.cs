using System.Buffers.Binary;
using System.IO.Compression;

namespace Ldr.Runtime.Formats;

/// <summary>Tells whether a gzip file is complete: .NET takes one whose last bytes, checksum and length, are cut off.</summary>
internal static class GzipEnd
{
    /// <summary>Reads what is left of an unpacked stream, and compares its length with the one that the file states at its end.</summary>
    /// <param name="path">The file, from whose start on gzip data stand.</param>
    /// <param name="data">The unpacked stream.</param>
    /// <param name="read">Bytes that have been unpacked.</param>
    /// <exception cref="InvalidFileException">The file is cut off.</exception>
    internal static void Check(string path, Stream data, long read)
    {
        byte[] rest = new byte[1 << 16];
        for (int count; (count = data.Read(rest)) > 0;)
        {
            read += count;
        }

        using FileStream file = InputFile.Open(path);
        if (StatedBy(file) != (uint)read && !EndsWithMember(file, read))
        {
            throw new InvalidFileException(path, "its compressed data are damaged or cut off", VoxelStream.CopyAgain);
        }
    }

    private static uint StatedBy(FileStream file)
    {
        Span<byte> length = stackalloc byte[4];
        file.Position = Math.Max(0, file.Length - 4);
        file.ReadExactly(length);
        return BinaryPrimitives.ReadUInt32LittleEndian(length);
    }

    /// <summary>Whether the file is several gzip files one after the other, the last of which is complete.</summary>
    private static bool EndsWithMember(FileStream file, long read)
    {
        byte[] bytes = new byte[Math.Min(file.Length, 1 << 24)];
        long from = file.Length - bytes.Length;
        file.Position = from;
        file.ReadExactly(bytes);
        uint stated = StatedBy(file);
        for (int i = bytes.Length - 18; i > 0; i--)
        {
            if (bytes[i] == 0x1F && bytes[i + 1] == 0x8B && bytes[i + 2] == 8 && from + i > 0 && Unpacked(bytes.AsSpan(i).ToArray()) is long own)
            {
                return own == stated && own < read;
            }
        }

        return false;
    }

    private static long? Unpacked(byte[] member)
    {
        try
        {
            using GZipStream data = new(new MemoryStream(member), CompressionMode.Decompress);
            byte[] rest = new byte[1 << 16];
            long read = 0;
            for (int count; (count = data.Read(rest)) > 0;)
            {
                read += count;
            }

            return read;
        }
        catch (InvalidDataException)
        {
            return null;
        }
    }
}
