using System.Runtime.InteropServices;
using System.Text.Json;
using Ldr.App.Api;
using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Registration;
using Ldr.Runtime.Transforms;

namespace Ldr.App.Jobs;

/// <summary>Where the numbers of a result belong.</summary>
internal sealed record RawGeometry(
    int[] FixedSize, double[] FixedMap, int[] MovingSize, double[] MovingMap, double[] Initial, VoxelType StoredAs, bool HasDeformation);

/// <summary>
/// A result on disk, as the very numbers that the registrar found, so that whatever is written from it later is what <c>ldr-fs register</c>
/// writes, bit by bit, and no result has to stay in memory.
/// </summary>
internal sealed class RawResult
{
    private readonly string folder;
    private readonly RawGeometry geometry;

    private RawResult(string folder, RawGeometry geometry)
    {
        this.folder = folder;
        this.geometry = geometry;
        FixedGrid = GridOf(geometry.FixedSize, geometry.FixedMap);
        MovingGrid = GridOf(geometry.MovingSize, geometry.MovingMap);
        Initial = MapOf(geometry.Initial);
    }

    public Grid FixedGrid { get; }

    public Grid MovingGrid { get; }

    /// <summary>Fixed world to moving world, mm.</summary>
    public Affine Initial { get; }

    public static void Write(string folder, RegistrationResult result)
    {
        // Without an initial alignment both fields are one.
        bool apart = !ReferenceEquals(result.Field, result.Deformation);
        WriteFloats(Path.Combine(folder, "moved.f32"), result.Moved.Values);
        WriteFloats(Path.Combine(folder, "field.f32"), result.Field.Vectors);
        if (apart)
        {
            WriteFloats(Path.Combine(folder, "deformation.f32"), result.Deformation.Vectors);
        }

        RawGeometry geometry = new(
            SizeOf(result.Fixed.Grid),
            result.Fixed.Grid.VoxelToWorld.ToRows(),
            SizeOf(result.Moving.Grid),
            result.Moving.Grid.VoxelToWorld.ToRows(),
            result.Initial.ToRows(),
            result.Moved.StoredAs,
            apart);
        AtomicFile.Write(
            Path.Combine(folder, "geometry.json"),
            stream => JsonSerializer.Serialize(stream, geometry, AppJson.Default.RawGeometry));
    }

    public static RawResult Open(string folder) => new(
        folder,
        JsonSerializer.Deserialize(File.ReadAllBytes(Path.Combine(folder, "geometry.json")), AppJson.Default.RawGeometry)
            ?? throw new InvalidDataException("no geometry"));

    /// <summary>The moving scan on the fixed scan's grid.</summary>
    public Volume Moved() => new(FixedGrid, ReadFloats("moved.f32"), geometry.StoredAs);

    /// <summary>The total displacement.</summary>
    public DisplacementField Field() => new(FixedGrid, ReadFloats("field.f32"));

    /// <summary>Its part without the initial alignment.</summary>
    public DisplacementField Deformation() => geometry.HasDeformation ? new(FixedGrid, ReadFloats("deformation.f32")) : Field();

    /// <summary>The whole transform, as <see cref="RegistrationResult.Transform"/>.</summary>
    public Transform Transform() => Runtime.Transforms.Transform.Compose(new Transform.Linear(Initial), new Transform.Dense(Deformation()));

    /// <summary>The transform back, as <see cref="RegistrationResult.Inverse()"/>.</summary>
    public DisplacementField Inverse() => Transform().Inverse().ToField(MovingGrid);

    private static int[] SizeOf(Grid grid) => [grid.Nx, grid.Ny, grid.Nz];

    private static Affine MapOf(double[] m) =>
        Affine.FromRows(m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7], m[8], m[9], m[10], m[11]);

    private static Grid GridOf(int[] size, double[] map) => new(size[0], size[1], size[2], MapOf(map));

    private static void WriteFloats(string path, float[] values)
    {
        using FileStream file = new(path, FileMode.Create, FileAccess.Write, FileShare.None, 1);
        foreach (Range part in Parts(values.Length))
        {
            file.Write(MemoryMarshal.AsBytes<float>(values.AsSpan(part)));
        }
    }

    private float[] ReadFloats(string name)
    {
        using FileStream file = new(Path.Combine(folder, name), FileMode.Open, FileAccess.Read, FileShare.Read, 1);
        float[] values = GC.AllocateUninitializedArray<float>(checked((int)(file.Length / sizeof(float))));
        foreach (Range part in Parts(values.Length))
        {
            file.ReadExactly(MemoryMarshal.AsBytes(values.AsSpan(part)));
        }

        return values;
    }

    /// <summary>The bytes of a part fit into a span.</summary>
    private static IEnumerable<Range> Parts(int length)
    {
        const int most = 1 << 26;
        for (int start = 0; start < length; start += most)
        {
            yield return start..Math.Min(length, start + most);
        }
    }
}
