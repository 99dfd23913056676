using System.IO.Compression;

namespace Ldr.Runtime.Formats;

/// <summary>An open NIfTI file: its checked header, and its voxels on demand.</summary>
internal sealed class NiftiReader : IDisposable
{
    private readonly string path;
    private readonly Stream data;

    private NiftiReader(string path, Stream data, NiftiHeader header)
    {
        this.path = path;
        this.data = data;
        Header = header;
    }

    internal NiftiHeader Header { get; }

    /// <summary>Opens the file, reads its header and checks that the file can hold the voxels that it declares.</summary>
    internal static NiftiReader Open(string path)
    {
        FileStream file = InputFile.Open(path);
        Stream? data = null;
        try
        {
            if (file.Length == 0)
            {
                throw new InvalidFileException(path, "is empty", VoxelStream.CopyAgain);
            }

            Span<byte> start = stackalloc byte[4];
            bool compressed = file.ReadAtLeast(start[..2], 2, throwOnEndOfStream: false) == 2 && start[0] == 0x1F && start[1] == 0x8B;
            file.Position = 0;
            data = compressed ? new GZipStream(file, CompressionMode.Decompress) : file;
            NiftiHeader header = VoxelStream.Guard(path, () => ReadHeader(path, data, compressed));
            CheckLength(path, header, file.Length);
            return new NiftiReader(path, data, header);
        }
        catch
        {
            data?.Dispose();
            file.Dispose();
            throw;
        }
    }

    /// <summary>Reads a run of voxels as float32, scaled.</summary>
    internal float[] ReadVoxels(long skip, long count) => VoxelStream.Guard(path, () => ReadVoxelsUnguarded(skip, count));

    /// <inheritdoc/>
    public void Dispose() => data.Dispose();

    private static NiftiHeader ReadHeader(string path, Stream data, bool compressed)
    {
        byte[] bytes = new byte[NiftiParser.Size2];
        int length = data.ReadAtLeast(bytes.AsSpan(0, 4), 4, throwOnEndOfStream: false);
        (int version, bool bigEndian) = (length == 4 ? NiftiParser.Detect(bytes) : null)
            ?? throw NotNifti(path);
        int size = version == 1 ? NiftiParser.Size1 : NiftiParser.Size2;
        length += data.ReadAtLeast(bytes.AsSpan(4, size - 4), size - 4, throwOnEndOfStream: false);
        return length == size
            ? NiftiParser.Parse(path, bytes.AsSpan(0, size), version, bigEndian, compressed)
            : throw new InvalidFileException(path, $"ends within its header, after {length} of {size} bytes", VoxelStream.CopyAgain);
    }

    private static InvalidFileException NotNifti(string path)
    {
        string what = FileContent.Describe(path) is string found ? $" but {found}" : string.Empty;
        return new InvalidFileException(path, $"is not a NIfTI file{what}", $"an image is wanted here: {ImageFile.Extensions}");
    }

    private static void CheckLength(string path, NiftiHeader header, long length)
    {
        long voxels = header.Grid.Count * header.Volumes * VoxelCodec.Size(header.StoredAs);
        if (!header.Compressed && header.VoxelOffset > length)
        {
            throw new InvalidFileException(
                path, $"says its voxels start at byte {header.VoxelOffset} (vox_offset) and ends at byte {length}", VoxelStream.CopyAgain);
        }

        VoxelStream.CheckLength(path, header.VoxelOffset, voxels, length, header.Compressed);
    }

    private float[] ReadVoxelsUnguarded(long skip, long count)
    {
        Skip(Header.VoxelOffset + (skip * VoxelCodec.Size(Header.StoredAs)));
        float[] values = VoxelStream.Read(
            path, data, Header.StoredAs, Header.BigEndian, Header.Slope, Header.Intercept, count);
        if (Header.Compressed && skip + count == Header.Grid.Count * Header.Volumes)
        {
            GzipEnd.Check(path, data, Header.VoxelOffset + ((skip + count) * VoxelCodec.Size(Header.StoredAs)));
        }

        return values;
    }

    /// <summary>Goes to a byte of the uncompressed file; the header has been read.</summary>
    private void Skip(long position)
    {
        if (!Header.Compressed)
        {
            data.Position = position;
            return;
        }

        long left = position - (Header.Version == 1 ? NiftiParser.Size1 : NiftiParser.Size2);
        byte[] buffer = new byte[1 << 16];
        while (left > 0)
        {
            int read = data.Read(buffer, 0, (int)Math.Min(left, buffer.Length));
            if (read == 0)
            {
                throw VoxelStream.Truncated(path, 0, Header.Grid.Count * VoxelCodec.Size(Header.StoredAs));
            }

            left -= read;
        }
    }
}
