using System.Buffers.Binary;
using System.IO.Compression;

namespace Ldr.Runtime.Reports;

/// <summary>Grey pictures as PNG (RFC 2083): 8 bits a pixel, every line filtered by its upper neighbour.</summary>
internal static class PngFile
{
    private static readonly uint[] Table = [.. Enumerable.Range(0, 256).Select(n => Remainder((uint)n))];

    /// <summary>Writes a picture.</summary>
    /// <param name="stream">Where it goes.</param>
    /// <param name="pixels">Line by line, from above.</param>
    /// <param name="width">Pixels in a line.</param>
    internal static void Write(Stream stream, byte[] pixels, int width)
    {
        int height = pixels.Length / width;
        stream.Write([0x89, (byte)'P', (byte)'N', (byte)'G', 13, 10, 26, 10]);
        byte[] header = new byte[13];
        BinaryPrimitives.WriteInt32BigEndian(header, width);
        BinaryPrimitives.WriteInt32BigEndian(header.AsSpan(4), height);
        header[8] = 8;
        Chunk(stream, "IHDR"u8, header);
        using MemoryStream packed = new();
        using (ZLibStream zlib = new(packed, CompressionLevel.Optimal, leaveOpen: true))
        {
            byte[] line = new byte[width + 1];
            line[0] = 2;
            for (int y = 0; y < height; y++)
            {
                for (int x = 0; x < width; x++)
                {
                    int i = (y * width) + x;
                    line[x + 1] = (byte)(pixels[i] - (y > 0 ? pixels[i - width] : 0));
                }

                zlib.Write(line);
            }
        }

        Chunk(stream, "IDAT"u8, packed.ToArray());
        Chunk(stream, "IEND"u8, []);
    }

    private static void Chunk(Stream stream, ReadOnlySpan<byte> name, ReadOnlySpan<byte> content)
    {
        Span<byte> number = stackalloc byte[4];
        BinaryPrimitives.WriteInt32BigEndian(number, content.Length);
        stream.Write(number);
        stream.Write(name);
        stream.Write(content);
        BinaryPrimitives.WriteUInt32BigEndian(number, ~Checked(Checked(uint.MaxValue, name), content));
        stream.Write(number);
    }

    private static uint Checked(uint sum, ReadOnlySpan<byte> bytes)
    {
        foreach (byte value in bytes)
        {
            sum = Table[(byte)(sum ^ value)] ^ (sum >> 8);
        }

        return sum;
    }

    private static uint Remainder(uint value)
    {
        for (int bit = 0; bit < 8; bit++)
        {
            value = (value & 1) != 0 ? 0xEDB88320 ^ (value >> 1) : value >> 1;
        }

        return value;
    }
}
