using System.Buffers.Binary;
using System.Globalization;
using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Formats;

/// <summary>
/// Reads and checks the fixed part of a NIfTI-1 (348 bytes) or NIfTI-2 (540 bytes) header. Trusts nothing.
/// Source: nifti1.h and nifti2.h of the NIfTI Data Format Working Group.
/// </summary>
internal static class NiftiParser
{
    internal const int Size1 = 348;
    internal const int Size2 = 540;
    private const string Remake = "copy or export the file again";

    /// <summary>Which header starts with these four bytes; null when none does.</summary>
    internal static (int Version, bool BigEndian)? Detect(ReadOnlySpan<byte> start) =>
        (BinaryPrimitives.ReadInt32LittleEndian(start), BinaryPrimitives.ReadInt32BigEndian(start)) switch
        {
            (Size1, _) => (1, false),
            (_, Size1) => (1, true),
            (Size2, _) => (2, false),
            (_, Size2) => (2, true),
            _ => null,
        };

    internal static NiftiHeader Parse(string path, ReadOnlySpan<byte> bytes, int version, bool bigEndian, bool compressed)
    {
        Raw raw = version == 1 ? Raw.From1(bytes, bigEndian) : Raw.From2(bytes, bigEndian);
        CheckMagic(path, bytes, version);
        long[] dimensions = Dimensions(path, raw.Dim);
        VoxelType type = Type(path, raw.DataType, raw.BitPix);
        long offset = Offset(path, raw.VoxOffset, version);
        CheckSize(path, dimensions, type, offset);
        (double slope, double intercept) = Scale(path, raw.Slope, raw.Intercept);
        List<string> warnings = [];
        (Affine map, string source, bool disagree) = VoxelToWorld(path, raw, warnings);
        return new NiftiHeader
        {
            Path = path,
            Version = version,
            BigEndian = bigEndian,
            Compressed = compressed,
            Dimensions = dimensions,
            Grid = new Grid((int)dimensions[0], (int)dimensions[1], (int)dimensions[2], map),
            StoredAs = type,
            Slope = slope,
            Intercept = intercept,
            Intent = raw.Intent,
            AffineSource = source,
            FormsDisagree = disagree,
            VoxelOffset = offset,
            Warnings = warnings,
        };
    }

    private static void CheckMagic(string path, ReadOnlySpan<byte> bytes, int version)
    {
        ReadOnlySpan<byte> magic = version == 1 ? bytes.Slice(344, 4) : bytes.Slice(4, 8);
        if (version == 1 ? magic.SequenceEqual("n+1\0"u8) : magic.SequenceEqual("n+2\0\r\n\u001a\n"u8))
        {
            return;
        }

        if (magic.StartsWith("ni1"u8) || magic.StartsWith("ni2"u8))
        {
            throw new InvalidFileException(
                path, "is the header of a NIfTI pair (.hdr and .img)", "convert it to a single .nii or .nii.gz file");
        }

        throw new InvalidFileException(
            path, "is not a NIfTI file (its magic bytes are wrong)", "name a .nii or .nii.gz file; Analyze files must be converted");
    }

    private static long[] Dimensions(string path, ReadOnlySpan<long> dim)
    {
        long axes = dim[0];
        if (axes is < 1 or > 7)
        {
            throw new InvalidFileException(path, $"says it has {axes} dimensions (dim[0])", $"NIfTI allows 1 to 7; {Remake}");
        }

        if (axes < 3)
        {
            throw new InvalidFileException(path, $"holds a {axes}-D image", "give a 3-D volume");
        }

        long[] sizes = dim.Slice(1, (int)axes).ToArray();
        for (int i = 0; i < sizes.Length; i++)
        {
            if (sizes[i] < 1)
            {
                throw new InvalidFileException(path, $"has a size of {sizes[i]} along axis {i + 1} (dim[{i + 1}])", $"sizes are at least 1; {Remake}");
            }
        }

        return sizes;
    }

    private static VoxelType Type(string path, int code, int bitPix)
    {
        if (NiftiTypes.Unsupported(code) is string kind)
        {
            throw new InvalidFileException(path, $"holds {kind} (datatype {code})", "give one real number per voxel");
        }

        VoxelType type = NiftiTypes.Type(code)
            ?? throw new InvalidFileException(path, $"has the unknown datatype {code}", Remake);
        int bits = 8 * VoxelCodec.Size(type);
        return bitPix == bits
            ? type
            : throw new InvalidFileException(path, $"says {bitPix} bits per voxel (bitpix) where its datatype {code} has {bits}", Remake);
    }

    private static long Offset(string path, double offset, int version)
    {
        int least = version == 1 ? Size1 + 4 : Size2 + 4;
        if (!(offset >= least && offset <= 1L << 53 && Math.Truncate(offset) == offset))
        {
            throw new InvalidFileException(
                path,
                string.Create(CultureInfo.InvariantCulture, $"says its voxels start at byte {offset} (vox_offset)"),
                $"they start at byte {least} or later; {Remake}");
        }

        return (long)offset;
    }

    private static void CheckSize(string path, ReadOnlySpan<long> sizes, VoxelType type, long offset)
    {
        Int128 voxels = 1;
        for (int i = 0; i < sizes.Length; i++)
        {
            voxels *= sizes[i];
            if (i <= 2 && voxels > Array.MaxLength)
            {
                throw new InvalidFileException(
                    path, $"says it has {sizes[0]}×{sizes[1]}×{sizes[2]} voxels", $"at most {Array.MaxLength} voxels can be read; {Remake}");
            }

            if ((voxels * VoxelCodec.Size(type)) + offset > long.MaxValue)
            {
                throw new InvalidFileException(path, "says it is larger than any file can be", Remake);
            }
        }
    }

    private static (double Slope, double Intercept) Scale(string path, double slope, double intercept)
    {
        if (slope == 0 || double.IsNaN(slope))
        {
            return (1, 0);
        }

        if (!double.IsFinite(slope) || !double.IsFinite(intercept))
        {
            throw new InvalidFileException(
                path,
                string.Create(CultureInfo.InvariantCulture, $"scales its voxels by {slope} and {intercept} (scl_slope, scl_inter)"),
                $"both must be finite; {Remake}");
        }

        return (slope, intercept);
    }

    private static (Affine Map, string Source, bool Disagree) VoxelToWorld(string path, in Raw raw, List<string> warnings)
    {
        double unit = (raw.Units & 7) switch { 1 => 1000, 3 => 0.001, _ => 1 };
        double[] spacing = new double[3];
        for (int axis = 0; axis < 3; axis++)
        {
            spacing[axis] = Math.Abs(raw.PixDim[axis + 1]) * unit;
        }

        if ((raw.SformCode <= 0) && (raw.PixDim[1] < 0 || raw.PixDim[2] < 0 || raw.PixDim[3] < 0))
        {
            warnings.Add("a voxel size (pixdim) is negative; its sign is ignored");
        }

        Affine? sform = raw.SformCode > 0 ? Sform(raw.Srow, unit) : null;
        Affine? qform = raw.QformCode > 0 ? Qform(raw, spacing, unit) : null;
        if (sform is not null)
        {
            Check(path, sform, "sform");
            bool disagree = qform is not null && !sform.IsCloseTo(qform, 1e-2);
            if (disagree)
            {
                warnings.Add($"sform {sform} and qform {qform} disagree; sform is used");
            }

            return (sform, "sform", disagree);
        }

        if (qform is not null)
        {
            Check(path, qform, "qform");
            return (qform, "qform", false);
        }

        Affine scaling = Affine.Scaling(spacing[0], spacing[1], spacing[2]);
        Check(path, scaling, "pixdim");
        warnings.Add("neither sform nor qform is set; the position is unknown and only the voxel sizes (pixdim) are used");
        return (scaling, "pixdim", false);
    }

    private static void Check(string path, Affine map, string source)
    {
        if (!map.IsFinite)
        {
            throw new InvalidFileException(path, $"has an affine ({source}) that is not finite: {map}", "mend the header");
        }

        if (map.IsSingular)
        {
            throw new InvalidFileException(path, $"has a singular affine ({source}): {map}", "mend the header");
        }
    }

    private static Affine Sform(ReadOnlySpan<double> rows, double unit)
    {
        double[] scaled = rows.ToArray();
        for (int i = 0; i < scaled.Length; i++)
        {
            scaled[i] *= unit;
        }

        return Affine.FromRows(scaled);
    }

    /// <summary>Method 2 of nifti1.h: a unit quaternion, the voxel sizes, and qfac = pixdim[0] for the third axis.</summary>
    private static Affine Qform(in Raw raw, double[] spacing, double unit)
    {
        double b = raw.Quaternion[0];
        double c = raw.Quaternion[1];
        double d = raw.Quaternion[2];
        double square = (b * b) + (c * c) + (d * d);
        double a = 0;
        if (square < 1)
        {
            a = Math.Sqrt(1 - square);
        }
        else
        {
            double length = Math.Sqrt(square);
            b /= length;
            c /= length;
            d /= length;
        }

        double sx = spacing[0];
        double sy = spacing[1];
        double sz = raw.PixDim[0] < 0 ? -spacing[2] : spacing[2];
        return Affine.FromRows(
            ((a * a) + (b * b) - (c * c) - (d * d)) * sx,
            2 * ((b * c) - (a * d)) * sy,
            2 * ((b * d) + (a * c)) * sz,
            raw.QOffset[0] * unit,
            2 * ((b * c) + (a * d)) * sx,
            ((a * a) + (c * c) - (b * b) - (d * d)) * sy,
            2 * ((c * d) - (a * b)) * sz,
            raw.QOffset[1] * unit,
            2 * ((b * d) - (a * c)) * sx,
            2 * ((c * d) + (a * b)) * sy,
            ((a * a) + (d * d) - (c * c) - (b * b)) * sz,
            raw.QOffset[2] * unit);
    }

    /// <summary>The fields that matter, alike for both versions.</summary>
    private readonly ref struct Raw
    {
        internal long[] Dim { get; private init; }

        internal int DataType { get; private init; }

        internal int BitPix { get; private init; }

        internal double[] PixDim { get; private init; }

        internal double VoxOffset { get; private init; }

        internal double Slope { get; private init; }

        internal double Intercept { get; private init; }

        internal int Units { get; private init; }

        internal int QformCode { get; private init; }

        internal int SformCode { get; private init; }

        internal double[] Quaternion { get; private init; }

        internal double[] QOffset { get; private init; }

        internal double[] Srow { get; private init; }

        internal int Intent { get; private init; }

        internal static Raw From1(ReadOnlySpan<byte> bytes, bool big)
        {
            Fields at = new(bytes, big);
            return new Raw
            {
                Dim = at.Shorts(40, 8),
                Intent = at.Short(68),
                DataType = at.Short(70),
                BitPix = at.Short(72),
                PixDim = at.Floats(76, 8),
                VoxOffset = at.Floats(108, 1)[0],
                Slope = at.Floats(112, 1)[0],
                Intercept = at.Floats(116, 1)[0],
                Units = bytes[123],
                QformCode = at.Short(252),
                SformCode = at.Short(254),
                Quaternion = at.Floats(256, 3),
                QOffset = at.Floats(268, 3),
                Srow = at.Floats(280, 12),
            };
        }

        internal static Raw From2(ReadOnlySpan<byte> bytes, bool big)
        {
            Fields at = new(bytes, big);
            return new Raw
            {
                DataType = at.Short(12),
                BitPix = at.Short(14),
                Dim = at.Longs(16, 8),
                PixDim = at.Doubles(104, 8),
                VoxOffset = at.Longs(168, 1)[0],
                Slope = at.Doubles(176, 1)[0],
                Intercept = at.Doubles(184, 1)[0],
                QformCode = at.Int(344),
                SformCode = at.Int(348),
                Quaternion = at.Doubles(352, 3),
                QOffset = at.Doubles(376, 3),
                Srow = at.Doubles(400, 12),
                Units = at.Int(500),
                Intent = at.Int(504),
            };
        }
    }

    /// <summary>Numbers and text at byte offsets, in one of the two byte orders.</summary>
    private readonly ref struct Fields(ReadOnlySpan<byte> bytes, bool big)
    {
        private readonly ReadOnlySpan<byte> bytes = bytes;

        internal short Short(int offset) => big
            ? BinaryPrimitives.ReadInt16BigEndian(bytes[offset..])
            : BinaryPrimitives.ReadInt16LittleEndian(bytes[offset..]);

        internal int Int(int offset) => big
            ? BinaryPrimitives.ReadInt32BigEndian(bytes[offset..])
            : BinaryPrimitives.ReadInt32LittleEndian(bytes[offset..]);

        internal long[] Shorts(int offset, int count)
        {
            long[] values = new long[count];
            for (int i = 0; i < count; i++)
            {
                values[i] = Short(offset + (2 * i));
            }

            return values;
        }

        internal long[] Longs(int offset, int count)
        {
            long[] values = new long[count];
            for (int i = 0; i < count; i++)
            {
                values[i] = Long(offset + (8 * i));
            }

            return values;
        }

        internal double[] Floats(int offset, int count)
        {
            double[] values = new double[count];
            for (int i = 0; i < count; i++)
            {
                values[i] = BitConverter.Int32BitsToSingle(Int(offset + (4 * i)));
            }

            return values;
        }

        internal double[] Doubles(int offset, int count)
        {
            double[] values = new double[count];
            for (int i = 0; i < count; i++)
            {
                values[i] = BitConverter.Int64BitsToDouble(Long(offset + (8 * i)));
            }

            return values;
        }

        private long Long(int offset) => big
            ? BinaryPrimitives.ReadInt64BigEndian(bytes[offset..])
            : BinaryPrimitives.ReadInt64LittleEndian(bytes[offset..]);
    }
}
