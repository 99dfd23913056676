using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Formats;

/// <summary>Writes NIfTI files: little endian, millimetres, sform and, where it can say the same, qform.</summary>
internal static class NiftiWriter
{
    /// <summary>Writes the header, then <paramref name="values"/> in the given number type.</summary>
    internal static void Write(
        string path, Grid grid, ReadOnlyMemory<long> dimensions, float[] values, VoxelType type, short intent) =>
        Write(path, Header(grid, dimensions.Span, type, intent), stream => VoxelStream.Write(stream, values, type));

    /// <summary>Writes the header of a field, then its vectors as they belong into a file.</summary>
    internal static void WriteLps(string path, DisplacementField field)
    {
        Grid grid = field.Grid;
        byte[] header = Header(grid, [grid.Nx, grid.Ny, grid.Nz, 1, 3], VoxelType.Float32, NiftiHeader.VectorIntent);
        Write(path, header, stream => FieldVectors.WritePlanes(stream, field));
    }

    private static void Write(string path, byte[] header, Action<Stream> voxels) => AtomicFile.Write(path, file =>
    {
        if (!path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase))
        {
            file.Write(header);
            voxels(file);
            return;
        }

        using GZipStream packed = new(file, CompressionLevel.Fastest, leaveOpen: true);
        packed.Write(header);
        voxels(packed);
    });

    /// <summary>The header with the four bytes that say that no extension follows.</summary>
    private static byte[] Header(Grid grid, ReadOnlySpan<long> dimensions, VoxelType type, short intent)
    {
        long[] dim = [dimensions.Length, 1, 1, 1, 1, 1, 1, 1];
        dimensions.CopyTo(dim.AsSpan(1));
        (double sx, double sy, double sz) = grid.Spacing;
        Quaternion? rotation = Quaternion.Of(grid.VoxelToWorld);
        double[] pixdim = [rotation?.Qfac ?? 1, sx, sy, sz, 1, 1, 1, 1];
        double[] quaternion = rotation is Quaternion q ? [q.B, q.C, q.D] : [0, 0, 0];
        double[] rows = grid.VoxelToWorld.ToRows();
        double[] offset = [rows[3], rows[7], rows[11]];
        int qformCode = rotation is null ? 0 : 1;
        const int millimetres = 2;
        const string description = "Ldr";
        short bits = (short)(8 * VoxelCodec.Size(type));
        Span<long> sizes = dim.AsSpan(1);
        if (sizes.IndexOfAnyExceptInRange(1, short.MaxValue) < 0)
        {
            byte[] one = new byte[NiftiParser.Size1 + 4];
            Fields at = new(one);
            at.Int(0, NiftiParser.Size1);
            one[38] = (byte)'r';
            for (int i = 0; i < 8; i++)
            {
                at.Short(40 + (2 * i), (short)dim[i]);
            }

            at.Short(68, intent);
            at.Short(70, NiftiTypes.Code(type));
            at.Short(72, bits);
            at.Floats(76, pixdim);
            at.Floats(108, one.Length, 1, 0);
            one[123] = millimetres;
            at.Text(148, description);
            at.Short(252, (short)qformCode);
            at.Short(254, 1);
            at.Floats(256, quaternion);
            at.Floats(268, offset);
            at.Floats(280, rows);
            "n+1\0"u8.CopyTo(one.AsSpan(344));
            return one;
        }

        byte[] two = new byte[NiftiParser.Size2 + 4];
        Fields to = new(two);
        to.Int(0, NiftiParser.Size2);
        "n+2\0\r\n\u001a\n"u8.CopyTo(two.AsSpan(4));
        to.Short(12, NiftiTypes.Code(type));
        to.Short(14, bits);
        for (int i = 0; i < 8; i++)
        {
            to.Long(16 + (8 * i), dim[i]);
        }

        to.Doubles(104, pixdim);
        to.Long(168, two.Length);
        to.Doubles(176, 1, 0);
        to.Text(240, description);
        to.Int(344, qformCode);
        to.Int(348, 1);
        to.Doubles(352, quaternion);
        to.Doubles(376, offset);
        to.Doubles(400, rows);
        to.Int(500, millimetres);
        to.Int(504, intent);
        return two;
    }

    /// <summary>Numbers and text at byte offsets, little endian.</summary>
    private readonly ref struct Fields(Span<byte> bytes)
    {
        private readonly Span<byte> bytes = bytes;

        internal void Short(int offset, short value) => BinaryPrimitives.WriteInt16LittleEndian(bytes[offset..], value);

        internal void Int(int offset, int value) => BinaryPrimitives.WriteInt32LittleEndian(bytes[offset..], value);

        internal void Long(int offset, long value) => BinaryPrimitives.WriteInt64LittleEndian(bytes[offset..], value);

        internal void Floats(int offset, params ReadOnlySpan<double> values)
        {
            for (int i = 0; i < values.Length; i++)
            {
                BinaryPrimitives.WriteSingleLittleEndian(bytes[(offset + (4 * i))..], (float)values[i]);
            }
        }

        internal void Doubles(int offset, params ReadOnlySpan<double> values)
        {
            for (int i = 0; i < values.Length; i++)
            {
                BinaryPrimitives.WriteDoubleLittleEndian(bytes[(offset + (8 * i))..], values[i]);
            }
        }

        internal void Text(int offset, string value) => Encoding.ASCII.GetBytes(value, bytes[offset..]);
    }

    /// <summary>The rotation of a qform (a follows from b, c and d) and the handedness of the third axis.</summary>
    private readonly record struct Quaternion(double B, double C, double D, int Qfac)
    {
        /// <summary>Null when the map's axes are not at right angles to each other: a qform cannot say that.</summary>
        internal static Quaternion? Of(Affine map)
        {
            double[] length = [map.ColumnLength(0), map.ColumnLength(1), map.ColumnLength(2)];
            int qfac = map.Determinant < 0 ? -1 : 1;
            double R(int row, int column) => map[row, column] / length[column] * (column == 2 ? qfac : 1);
            for (int first = 0; first < 3; first++)
            {
                int second = (first + 1) % 3;
                double cosine = (R(0, first) * R(0, second)) + (R(1, first) * R(1, second)) + (R(2, first) * R(2, second));
                if (Math.Abs(cosine) > 1e-5)
                {
                    return null;
                }
            }

            // Start from the largest of the four parts, so that no small number is divided by.
            double trace = R(0, 0) + R(1, 1) + R(2, 2);
            double[] squares =
                [1 + trace, 1 + (2 * R(0, 0)) - trace, 1 + (2 * R(1, 1)) - trace, 1 + (2 * R(2, 2)) - trace];
            int largest = Array.IndexOf(squares, squares.Max());
            double root = Math.Sqrt(squares[largest]);
            double other = 0.5 / root;
            (double a, double b, double c, double d) = largest switch
            {
                0 => (root / 2, (R(2, 1) - R(1, 2)) * other, (R(0, 2) - R(2, 0)) * other, (R(1, 0) - R(0, 1)) * other),
                1 => ((R(2, 1) - R(1, 2)) * other, root / 2, (R(0, 1) + R(1, 0)) * other, (R(0, 2) + R(2, 0)) * other),
                2 => ((R(0, 2) - R(2, 0)) * other, (R(0, 1) + R(1, 0)) * other, root / 2, (R(1, 2) + R(2, 1)) * other),
                _ => ((R(1, 0) - R(0, 1)) * other, (R(0, 2) + R(2, 0)) * other, (R(1, 2) + R(2, 1)) * other, root / 2),
            };
            return a < 0 ? new Quaternion(-b, -c, -d, qfac) : new Quaternion(b, c, d, qfac);
        }
    }
}
