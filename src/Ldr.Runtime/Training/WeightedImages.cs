namespace Ldr.Runtime.Training;

/// <summary>Where fixed and moved images and the weights of their voxels begin, [N, 1, Z, Y, X] each.</summary>
internal readonly unsafe struct WeightedImages(float* fixedImage, float* moved, float* weights)
{
    internal float* Fixed => fixedImage;

    internal float* Moved => moved;

    internal float* Weights => weights;

    /// <summary>The same from a voxel on.</summary>
    internal WeightedImages At(nint voxel) => new(Fixed + voxel, Moved + voxel, Weights + voxel);
}
