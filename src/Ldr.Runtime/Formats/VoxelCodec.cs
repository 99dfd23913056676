using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;
using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Formats;

/// <summary>Turns stored numbers of any voxel type into float32 and back.</summary>
internal static class VoxelCodec
{
    /// <summary>Bytes per voxel.</summary>
    internal static int Size(VoxelType type) => type switch
    {
        VoxelType.UInt8 or VoxelType.Int8 => 1,
        VoxelType.Int16 or VoxelType.UInt16 => 2,
        VoxelType.Int32 or VoxelType.UInt32 or VoxelType.Float32 => 4,
        VoxelType.Int64 or VoxelType.UInt64 or VoxelType.Float64 => 8,
        VoxelType.Float128 => 16,
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "not a voxel type"),
    };

    /// <summary>The type in which MetaImage and NRRD, which have no name for 128 bits, hold a volume's numbers.</summary>
    internal static VoxelType Named(VoxelType type) => type == VoxelType.Float128 ? VoxelType.Float64 : type;

    /// <summary>Reads numbers; <paramref name="raw"/> is overwritten when its byte order is not the machine's.</summary>
    internal static void Decode(
        VoxelType type, bool bigEndian, Span<byte> raw, double slope, double intercept, Span<float> values)
    {
        MatchByteOrder(type, bigEndian, raw);
        switch (type)
        {
            case VoxelType.UInt8: FromNumbers<byte>(raw, slope, intercept, values); break;
            case VoxelType.Int8: FromNumbers<sbyte>(raw, slope, intercept, values); break;
            case VoxelType.Int16: FromNumbers<short>(raw, slope, intercept, values); break;
            case VoxelType.UInt16: FromNumbers<ushort>(raw, slope, intercept, values); break;
            case VoxelType.Int32: FromNumbers<int>(raw, slope, intercept, values); break;
            case VoxelType.UInt32: FromNumbers<uint>(raw, slope, intercept, values); break;
            case VoxelType.Int64: FromNumbers<long>(raw, slope, intercept, values); break;
            case VoxelType.UInt64: FromNumbers<ulong>(raw, slope, intercept, values); break;
            case VoxelType.Float32: FromNumbers<float>(raw, slope, intercept, values); break;
            case VoxelType.Float64: FromNumbers<double>(raw, slope, intercept, values); break;
            default: FromQuads(raw, slope, intercept, values); break;
        }
    }

    /// <summary>Writes numbers, little endian; integers are rounded (halves to even) and clamped, NaN becomes 0.</summary>
    internal static void Encode(VoxelType type, ReadOnlySpan<float> values, Span<byte> raw)
    {
        switch (type)
        {
            case VoxelType.UInt8: ToIntegers<byte>(values, raw); break;
            case VoxelType.Int8: ToIntegers<sbyte>(values, raw); break;
            case VoxelType.Int16: ToIntegers<short>(values, raw); break;
            case VoxelType.UInt16: ToIntegers<ushort>(values, raw); break;
            case VoxelType.Int32: ToIntegers<int>(values, raw); break;
            case VoxelType.UInt32: ToIntegers<uint>(values, raw); break;
            case VoxelType.Int64: ToIntegers<long>(values, raw); break;
            case VoxelType.UInt64: ToIntegers<ulong>(values, raw); break;
            case VoxelType.Float32: values.CopyTo(MemoryMarshal.Cast<byte, float>(raw)); break;
            case VoxelType.Float64: ToDoubles(values, raw); break;
            default: ToQuads(values, raw); break;
        }

        MatchByteOrder(type, bigEndian: false, raw);
    }

    private static void MatchByteOrder(VoxelType type, bool bigEndian, Span<byte> raw)
    {
        if (bigEndian != BitConverter.IsLittleEndian)
        {
            return;
        }

        switch (Size(type))
        {
            case 2:
                Span<ushort> shorts = MemoryMarshal.Cast<byte, ushort>(raw);
                BinaryPrimitives.ReverseEndianness(shorts, shorts);
                break;
            case 4:
                Span<uint> words = MemoryMarshal.Cast<byte, uint>(raw);
                BinaryPrimitives.ReverseEndianness(words, words);
                break;
            case 8:
                Span<ulong> longs = MemoryMarshal.Cast<byte, ulong>(raw);
                BinaryPrimitives.ReverseEndianness(longs, longs);
                break;
            case 16:
                Span<UInt128> quads = MemoryMarshal.Cast<byte, UInt128>(raw);
                BinaryPrimitives.ReverseEndianness(quads, quads);
                break;
        }
    }

    private static void FromNumbers<T>(ReadOnlySpan<byte> raw, double slope, double intercept, Span<float> values)
        where T : unmanaged, INumberBase<T>
    {
        ReadOnlySpan<T> numbers = MemoryMarshal.Cast<byte, T>(raw)[..values.Length];
        if (slope == 1 && intercept == 0)
        {
            for (int i = 0; i < values.Length; i++)
            {
                values[i] = float.CreateTruncating(numbers[i]);
            }

            return;
        }

        for (int i = 0; i < values.Length; i++)
        {
            values[i] = (float)((double.CreateTruncating(numbers[i]) * slope) + intercept);
        }
    }

    private static void ToIntegers<T>(ReadOnlySpan<float> values, Span<byte> raw)
        where T : unmanaged, IBinaryInteger<T>
    {
        Span<T> numbers = MemoryMarshal.Cast<byte, T>(raw);
        for (int i = 0; i < values.Length; i++)
        {
            numbers[i] = T.CreateSaturating(MathF.Round(values[i]));
        }
    }

    private static void ToDoubles(ReadOnlySpan<float> values, Span<byte> raw)
    {
        Span<double> numbers = MemoryMarshal.Cast<byte, double>(raw);
        for (int i = 0; i < values.Length; i++)
        {
            numbers[i] = values[i];
        }
    }

    private static void FromQuads(ReadOnlySpan<byte> raw, double slope, double intercept, Span<float> values)
    {
        ReadOnlySpan<UInt128> numbers = MemoryMarshal.Cast<byte, UInt128>(raw);
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = (float)((FromQuad(numbers[i]) * slope) + intercept);
        }
    }

    private static void ToQuads(ReadOnlySpan<float> values, Span<byte> raw)
    {
        Span<UInt128> numbers = MemoryMarshal.Cast<byte, UInt128>(raw);
        for (int i = 0; i < values.Length; i++)
        {
            numbers[i] = ToQuad(values[i]);
        }
    }

    /// <summary>IEEE binary128: 1 sign bit, 15 exponent bits (bias 16383), 112 fraction bits.</summary>
    private static double FromQuad(UInt128 bits)
    {
        bool negative = (bits >> 127) != 0;
        int exponent = (int)((ulong)(bits >> 112) & 0x7FFF);
        double fraction = (double)(bits & ((UInt128.One << 112) - 1)) * Math.ScaleB(1, -112);
        double magnitude = exponent switch
        {
            0x7FFF => fraction == 0 ? double.PositiveInfinity : double.NaN,
            0 => 0,
            _ => Math.ScaleB(1 + fraction, exponent - 16383),
        };
        return negative ? -magnitude : magnitude;
    }

    private static UInt128 ToQuad(double value)
    {
        ulong bits = BitConverter.DoubleToUInt64Bits(value);
        UInt128 sign = (UInt128)(bits >> 63) << 127;
        ulong exponent = (bits >> 52) & 0x7FF;
        UInt128 fraction = (UInt128)(bits & 0xFFFFFFFFFFFFFul) << 60;

        // Every float32 is zero or a normal double, so subnormal doubles do not occur.
        UInt128 biased = exponent switch
        {
            0 => UInt128.Zero,
            0x7FF => 0x7FFF,
            _ => exponent + (16383 - 1023),
        };
        return sign | (biased << 112) | fraction;
    }
}
