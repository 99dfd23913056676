using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Formats;

/// <summary>Voxels in a stream of bytes, whatever the file around them; used by every image format.</summary>
internal static class VoxelStream
{
    /// <summary>Deflate's best ratio is 1032:1 (zlib's technical details); a declared size beyond it is a lie.</summary>
    internal const long MostDeflate = 1032;

    internal const string CopyAgain = "copy or download it again";

    /// <summary>Runs what reads a file's data; the system's errors become <see cref="InvalidFileException"/>.</summary>
    internal static T Guard<T>(string path, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (InvalidDataException error)
        {
            throw new InvalidFileException(path, "its compressed data are damaged or cut off", CopyAgain, error);
        }
        catch (IOException error)
        {
            throw new InvalidFileException(path, $"cannot be read ({error.Message})", "check the file and its disk", error);
        }
        catch (OutOfMemoryException error)
        {
            throw new InvalidFileException(path, "is too large for this machine's memory", "crop or resample it first", error);
        }
    }

    /// <summary>Refuses a file that cannot hold the bytes of voxels that it declares, before memory is taken for them.</summary>
    /// <param name="path">The file.</param>
    /// <param name="offset">Where the voxels start, in the uncompressed data.</param>
    /// <param name="voxels">Bytes of voxels.</param>
    /// <param name="length">Bytes of the file.</param>
    /// <param name="compressed">Whether they are packed by deflate.</param>
    internal static void CheckLength(string path, long offset, Int128 voxels, long length, bool compressed)
    {
        if (!compressed && voxels > length - offset)
        {
            throw new InvalidFileException(
                path, $"is truncated: {Math.Max(0, length - offset)} of {voxels} bytes of voxels are there", CopyAgain);
        }

        if (compressed && offset + voxels > ((Int128)length * MostDeflate) + MostDeflate)
        {
            throw new InvalidFileException(
                path, $"declares {voxels} bytes of voxels, more than its {length} compressed bytes can hold", CopyAgain);
        }
    }

    /// <summary>Reads a run of numbers as float32, scaled.</summary>
    internal static float[] Read(
        string path, Stream data, VoxelType type, bool bigEndian, double slope, double intercept, long count)
    {
        int size = VoxelCodec.Size(type);
        float[] values = GC.AllocateUninitializedArray<float>(checked((int)count));
        byte[] buffer = new byte[1 << 18];
        int perChunk = buffer.Length / size;
        for (int done = 0; done < values.Length;)
        {
            int voxels = Math.Min(perChunk, values.Length - done);
            Span<byte> chunk = buffer.AsSpan(0, voxels * size);
            int read = data.ReadAtLeast(chunk, chunk.Length, throwOnEndOfStream: false);
            if (read < chunk.Length)
            {
                throw Truncated(path, ((long)done * size) + read, count * size);
            }

            VoxelCodec.Decode(type, bigEndian, chunk, slope, intercept, values.AsSpan(done, voxels));
            done += voxels;
        }

        return values;
    }

    /// <summary>Writes numbers, little endian.</summary>
    internal static void Write(Stream stream, float[] values, VoxelType type)
    {
        int size = VoxelCodec.Size(type);
        byte[] buffer = new byte[1 << 18];
        int perChunk = buffer.Length / size;
        for (int done = 0; done < values.Length; done += perChunk)
        {
            int voxels = Math.Min(perChunk, values.Length - done);
            Span<byte> chunk = buffer.AsSpan(0, voxels * size);
            VoxelCodec.Encode(type, values.AsSpan(done, voxels), chunk);
            stream.Write(chunk);
        }
    }

    /// <summary>Writes numbers as float32 that are made a piece at a time, so that they are never there all at once.</summary>
    /// <param name="stream">Where to.</param>
    /// <param name="count">How many.</param>
    /// <param name="make">Makes those from an index on.</param>
    internal static void Write(Stream stream, int count, PieceMaker make)
    {
        float[] values = new float[1 << 16];
        byte[] bytes = new byte[values.Length * sizeof(float)];
        for (int done = 0; done < count; done += values.Length)
        {
            Span<float> piece = values.AsSpan(0, Math.Min(values.Length, count - done));
            make(done, piece);
            Span<byte> chunk = bytes.AsSpan(0, piece.Length * sizeof(float));
            VoxelCodec.Encode(VoxelType.Float32, piece, chunk);
            stream.Write(chunk);
        }
    }

    /// <summary>Fills a piece of numbers that starts at an index.</summary>
    internal delegate void PieceMaker(int first, Span<float> piece);

    internal static InvalidFileException Truncated(string path, long there, long wanted) =>
        new(path, $"is truncated: {there} of {wanted} bytes of voxels are there", CopyAgain);
}
